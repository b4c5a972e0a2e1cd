use crate::db::{Db, Error, Turns};
use crate::tx;
use sqlx::Row as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Notify, oneshot};

/// A table of notes; a `child` needs its note, but may come first within a transaction that says so.
async fn notebook() -> (Db, tempfile::TempDir) {
    let (db, folder) = crate::testing::sqlite().await;
    for table in [
        "CREATE TABLE note (text TEXT PRIMARY KEY)",
        "CREATE TABLE child (note TEXT REFERENCES note (text))",
    ] {
        sqlx::query(table).execute(db.read().await.unwrap().conn()).await.unwrap();
    }
    (db, folder)
}

async fn notes(db: &Db) -> Vec<String> {
    let mut tx = db.read().await.unwrap();
    let rows = sqlx::query("SELECT text FROM note ORDER BY text").fetch_all(tx.conn()).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// How many groups there were, and how many wait who would join one.
async fn groups(db: &Db) -> u64 {
    let Turns::Sqlite(line) = &db.turns else { panic!("not SQLite") };
    line.writer.lock().await.groups
}

async fn until_waiting(db: &Db, count: usize) {
    let Turns::Sqlite(line) = &db.turns else { panic!("not SQLite") };
    while line.joining.load(Ordering::Relaxed) < count {
        tokio::task::yield_now().await;
    }
}

async fn write(tx: &mut crate::db::Tx, text: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO note (text) VALUES ($1)").bind(text).execute(tx.conn()).await?;
    Ok(())
}

type Written = tokio::task::JoinHandle<Result<(), Error>>;

/// Notes in one transaction each, all of which wait in this order until `first` has ended.
async fn crowd(db: &Db, texts: &[&'static str]) -> (Vec<Written>, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let (began, has_begun) = oneshot::channel();
    let (open, opener) = (db.clone(), Arc::clone(&gate));
    let mut all = vec![tokio::spawn(async move {
        let mut began = Some(began);
        tx!(open, "test.first", grouped |tx| {
            write(tx, "first").await?;
            if let Some(began) = began.take() {
                began.send(()).unwrap();
                opener.notified().await;
            }
            Ok(())
        })
    })];
    has_begun.await.unwrap();
    for text in texts.iter().copied() {
        let db = db.clone();
        all.push(tokio::spawn(async move {
            tx!(db, "test.note", grouped |tx| match text {
                "refused" => {
                    write(tx, text).await?;
                    Err(Error::Scheme { scheme: "refused".to_owned() })
                }
                "orphan" => {
                    write(tx, text).await?;
                    sqlx::query("PRAGMA defer_foreign_keys = ON").execute(tx.conn()).await?;
                    sqlx::query("INSERT INTO child (note) VALUES ('nobody')").execute(tx.conn()).await?;
                    Ok(())
                }
                "stuck" => {
                    write(tx, text).await?;
                    std::future::pending().await
                }
                _ => write(tx, text).await,
            })
        }));
    }
    until_waiting(db, texts.len()).await;
    (all, gate)
}

async fn outcomes(all: Vec<Written>) -> Vec<bool> {
    let mut outcomes = Vec::new();
    for written in all {
        outcomes.push(written.await.is_ok_and(|outcome| outcome.is_ok()));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_share_a_commit() {
    let (db, _folder) = notebook().await;
    let (all, gate) = crowd(&db, &["a", "b", "c"]).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true; 4]);
    assert_eq!(notes(&db).await, ["a", "b", "c", "first"]);
    assert_eq!(groups(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_alone_opens_no_group() {
    let (db, _folder) = notebook().await;
    tx!(db, "test.alone", grouped |tx| write(tx, "alone").await).unwrap();
    assert_eq!((notes(&db).await, groups(&db).await), (vec!["alone".to_owned()], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_does_wrong_is_only_its_own() {
    let (db, _folder) = notebook().await;
    let (all, gate) = crowd(&db, &["a", "refused", "refused", "b"]).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true, true, false, false, true]);
    assert_eq!(notes(&db).await, ["a", "b", "first"]);
    assert_eq!(groups(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_before_the_commit_of_all() {
    let (db, _folder) = notebook().await;
    let (mut all, gate) = crowd(&db, &["a", "stuck"]).await;
    gate.notify_one();
    // The one who is stuck has the turn when nobody waits any more: the others have ended their part.
    let Turns::Sqlite(line) = &db.turns else { panic!("not SQLite") };
    while line.joining.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(notes(&db).await, [""; 0]);
    assert!(!all.iter().any(Written::is_finished));
    // Whoever stops in the middle takes nobody with it.
    all.pop().unwrap().abort();
    assert_eq!(outcomes(all).await, [true, true]);
    assert_eq!(notes(&db).await, ["a", "first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_is_tried_again_one_by_one() {
    let (db, _folder) = notebook().await;
    let (all, gate) = crowd(&db, &["a", "orphan", "b"]).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true, true, false, true]);
    assert_eq!(notes(&db).await, ["a", "b", "first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_dropped_alone_lets_go_of_the_file_at_once() {
    let (db, folder) = notebook().await;
    let (mut all, _gate) = crowd(&db, &[]).await;
    let first = all.pop().unwrap();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // Another program that writes to the file.
    let other = Db::open(&Db::sqlite_url(&folder.path().join("holdfast.db")), 1).await.unwrap();
    tx!(other, "test.other", |tx| write(tx, "other").await).unwrap();
    tx!(db, "test.next", grouped |tx| write(tx, "next").await).unwrap();
    assert_eq!(notes(&db).await, ["next", "other"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_ends_where_one_comes_who_is_not_of_it() {
    let (db, _folder) = notebook().await;
    let (all, gate) = crowd(&db, &["a"]).await;
    let alone = {
        let db = db.clone();
        tokio::spawn(async move {
            tx!(db, "test.alone", |tx| {
                // Another connection sees the others' notes: they are committed.
                let before = notes(&db).await;
                write(tx, "alone").await?;
                Ok::<_, Error>(before)
            })
        })
    };
    // In line behind the crowd, unless it is not there yet; then the group was closed before it came.
    gate.notify_one();
    assert_eq!(alone.await.unwrap().unwrap(), ["a", "first"]);
    assert_eq!(outcomes(all).await, [true, true]);
    assert_eq!(notes(&db).await, ["a", "alone", "first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_bounded() {
    const TEXTS: [&str; 40] = {
        const DIGITS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCD";
        let mut texts = [""; 40];
        let mut at = 0;
        while at < 40 {
            texts[at] = DIGITS.split_at(at).1.split_at(1).0;
            at += 1;
        }
        texts
    };
    let (db, _folder) = notebook().await;
    let (all, gate) = crowd(&db, &TEXTS).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true; 41]);
    assert_eq!(notes(&db).await.len(), 41);
    assert_eq!(groups(&db).await, 2);
}
