//! The keyring on both databases: swapped rows, restored databases, foreign keys.

use super::*;
use crate::db::Db;
use kek::FileKek;

async fn keyring(db: &Db, folder: &std::path::Path) -> Result<Keyring, Error> {
    let kek = Arc::new(FileKek::open_or_create(folder)?);
    Keyring::open_at(db.clone(), kek, "default", Restored::Refuse).await
}

crate::both_databases! {
    async fn a_key_comes_back_and_two_rows_cannot_be_swapped(db: Db) {
        let folder = tempfile::tempdir().unwrap();
        let ring = keyring(&db, folder.path()).await.unwrap();
        ring.seal("a", b"first", 1).await.unwrap();
        ring.seal("b", b"second", 1).await.unwrap();
        let again = keyring(&db, folder.path()).await.unwrap();
        assert_eq!(again.open("a").await.unwrap().unwrap().as_slice(), b"first");
        assert!(again.open("c").await.unwrap().is_none());
        let mut conn = db.read().await.unwrap();
        for (from, to) in [("a", "tmp"), ("b", "a"), ("tmp", "b")] {
            sqlx::query("UPDATE keyring SET name = $2 WHERE name = $1")
                .bind(from).bind(to).execute(conn.conn()).await.unwrap();
        }
        assert!(matches!(again.open("a").await, Err(Error::NotOurs)));
        assert!(matches!(again.open("b").await, Err(Error::NotOurs)));
    }

    async fn a_restored_older_keyring_does_not_open_without_the_flag(db: Db) {
        let folder = tempfile::tempdir().unwrap();
        let ring = keyring(&db, folder.path()).await.unwrap();
        ring.seal("a", b"first", 1).await.unwrap();
        ring.seal("a", b"newer", 2).await.unwrap();
        sqlx::query("UPDATE keyring_head SET generation = 1")
            .execute(db.read().await.unwrap().conn()).await.unwrap();
        assert!(matches!(keyring(&db, folder.path()).await, Err(Error::Restored { found: 1, seen: 2 })));
        let kek = Arc::new(FileKek::open_or_create(folder.path()).unwrap());
        assert!(Keyring::open_at(db, kek, "default", Restored::Accept).await.is_ok());
    }

    async fn another_hosts_kek_is_named_and_a_readable_one_refused(db: Db) {
        use std::os::unix::fs::PermissionsExt as _;
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        keyring(&db, one.path()).await.unwrap().seal("a", b"x", 1).await.unwrap();
        let other = keyring(&db, two.path()).await.unwrap();
        assert!(matches!(other.open("a").await, Err(Error::OtherKek { .. })));
        std::fs::set_permissions(two.path().join("kek"), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(keyring(&db, two.path()).await, Err(Error::KekMode { mode: 0o644, .. })));
    }
}
