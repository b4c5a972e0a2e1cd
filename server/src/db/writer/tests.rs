use crate::db::{Db, Engine, Error};
use crate::tx;
use sqlx::Row as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A table of notes; a `child` needs its note, but may come first within a transaction that says so.
async fn notebook() -> (Db, tempfile::TempDir) {
    let (db, folder) = crate::testing::sqlite().await;
    for table in
        ["CREATE TABLE note (text TEXT PRIMARY KEY)", "CREATE TABLE child (note TEXT REFERENCES note (text))"]
    {
        sqlx::query(table).execute(db.read().await.unwrap().conn()).await.unwrap();
    }
    (db, folder)
}

async fn notes(db: &Db) -> Vec<String> {
    let mut tx = db.read().await.unwrap();
    let rows = sqlx::query("SELECT text FROM note ORDER BY text").fetch_all(tx.conn()).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// How many groups there were.
async fn groups(db: &Db) -> u64 {
    let Engine::Sqlite { line, .. } = &db.engine else { panic!("not SQLite") };
    line.writer.lock().await.groups
}

/// Until so many wait who would join a group.
async fn until_waiting(db: &Db, count: usize) {
    let Engine::Sqlite { line, .. } = &db.engine else { panic!("not SQLite") };
    while line.joining.load(Ordering::Relaxed) < count {
        tokio::task::yield_now().await;
    }
}

async fn write(tx: &mut crate::db::Tx, text: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO note (text) VALUES ($1)").bind(text).execute(tx.conn()).await?;
    Ok(())
}

type Written = tokio::task::JoinHandle<Result<(), Error>>;

/// Transactions that wait in line behind the first of them.
struct Crowd {
    all: Vec<Written>,
    gate: Arc<Notify>,
    /// How often any of them was begun.
    runs: Arc<AtomicUsize>,
}

/// Writes "first" and one note in each transaction after it; "first" waits at the gate.
async fn crowd(db: &Db, texts: &[&'static str]) -> Crowd {
    let (gate, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let mut all = Vec::new();
    for (before, text) in ["first"].iter().chain(texts).copied().enumerate() {
        let (db, gate, count) = (db.clone(), Arc::clone(&gate), Arc::clone(&runs));
        let here = db.clone();
        all.push(tokio::spawn(async move {
            tx!(db.grouped(), "test.note", |tx| {
                count.fetch_add(1, Ordering::Relaxed);
                write(tx, text).await?;
                if text == "first" {
                    gate.notified().await;
                }
                fault(tx, text).await
            })
        }));
        // One after the other: "first" has the turn, the others stand in this order.
        match before {
            0 => until_running(&runs).await,
            _ => until_waiting(&here, before).await,
        }
    }
    Crowd { all, gate, runs }
}

/// What is wrong with some notes.
async fn fault(tx: &mut crate::db::Tx, text: &str) -> Result<(), Error> {
    match text {
        "refused" => return Err(Error::Scheme { scheme: "refused".to_owned() }),
        "orphan" => {
            sqlx::query("PRAGMA defer_foreign_keys = ON").execute(tx.conn()).await?;
            sqlx::query("INSERT INTO child (note) VALUES ('nobody')").execute(tx.conn()).await?;
        }
        "stuck" => std::future::pending().await,
        _ => {}
    }
    Ok(())
}

async fn until_running(runs: &AtomicUsize) {
    while runs.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
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
    let Crowd { all, gate, .. } = crowd(&db, &["a", "b", "c"]).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true; 4]);
    assert_eq!(notes(&db).await, ["a", "b", "c", "first"]);
    assert_eq!(groups(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_alone_opens_no_group() {
    let (db, _folder) = notebook().await;
    tx!(db.grouped(), "test.alone", |tx| write(tx, "alone").await).unwrap();
    assert_eq!((notes(&db).await, groups(&db).await), (vec!["alone".to_owned()], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_does_wrong_is_only_its_own() {
    let (db, _folder) = notebook().await;
    let Crowd { all, gate, .. } = crowd(&db, &["a", "refused", "refused", "b"]).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true, true, false, false, true]);
    assert_eq!(notes(&db).await, ["a", "b", "first"]);
    assert_eq!(groups(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_before_the_commit_of_all() {
    let (db, _folder) = notebook().await;
    let Crowd { mut all, gate, runs } = crowd(&db, &["a", "stuck", "b"]).await;
    gate.notify_one();
    // "first" and "a" have ended their part, "b" waits.
    while runs.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(notes(&db).await, [""; 0]);
    assert!(!all.iter().any(Written::is_finished));
    // Whoever stops half-way takes nobody with it.
    all.remove(2).abort();
    assert_eq!(outcomes(all).await, [true; 3]);
    assert_eq!(notes(&db).await, ["a", "b", "first"]);
    assert_eq!((groups(&db).await, runs.load(Ordering::Relaxed)), (1, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_half_way_as_the_last_takes_nobody_with_it() {
    let (db, _folder) = notebook().await;
    let Crowd { mut all, gate, runs } = crowd(&db, &["a", "stuck"]).await;
    gate.notify_one();
    while runs.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    all.remove(2).abort();
    assert_eq!(outcomes(all).await, [true; 2]);
    assert_eq!(notes(&db).await, ["a", "first"]);
    assert_eq!(runs.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_is_tried_again_one_by_one() {
    let (db, _folder) = notebook().await;
    let Crowd { all, gate, runs } = crowd(&db, &["a", "orphan", "b"]).await;
    gate.notify_one();
    // "first" finds its gate closed again.
    while runs.load(Ordering::Relaxed) < 5 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true, true, false, true]);
    assert_eq!(notes(&db).await, ["a", "b", "first"]);
    assert_eq!(runs.load(Ordering::Relaxed), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_dropped_alone_lets_go_of_the_file_at_once() {
    let (db, folder) = notebook().await;
    let Crowd { mut all, .. } = crowd(&db, &[]).await;
    let first = all.pop().unwrap();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // Another program that writes to the file.
    let other = Db::open(&Db::sqlite_url(&folder.path().join("holdfast.db")), 1).await.unwrap();
    tx!(other, "test.other", |tx| write(tx, "other").await).unwrap();
    tx!(db.grouped(), "test.next", |tx| write(tx, "next").await).unwrap();
    assert_eq!(notes(&db).await, ["next", "other"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_ends_where_one_comes_who_is_not_of_it() {
    let (db, _folder) = notebook().await;
    let Crowd { all, gate, .. } = crowd(&db, &["a"]).await;
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
    let Crowd { all, gate, .. } = crowd(&db, &TEXTS).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true; 41]);
    assert_eq!(notes(&db).await.len(), 41);
    assert_eq!(groups(&db).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_later_falls_with_its_transaction_alone() {
    let (db, _folder) = notebook().await;
    tx!(db, "test.alone", |tx| write(tx, "taken").await).unwrap();
    let Crowd { mut all, gate, .. } = crowd(&db, &["a"]).await;
    let later = db.clone();
    all.push(tokio::spawn(async move {
        tx!(later.grouped(), "test.later", |tx| {
            write(tx, "with it").await?;
            for text in ["before", "taken", "after"] {
                tx.later(sqlx::query("INSERT INTO note (text) VALUES ($1)").bind(text)).await?;
            }
            Ok(())
        })
    }));
    until_waiting(&db, 2).await;
    gate.notify_one();
    assert_eq!(outcomes(all).await, [true, true, false]);
    assert_eq!(notes(&db).await, ["a", "first", "taken"]);
    let alone = tx!(db, "test.later", |tx| {
        write(tx, "with it").await?;
        tx.later(sqlx::query("INSERT INTO note (text) VALUES ($1)").bind("taken")).await
    });
    assert!(alone.unwrap_err().is_unique_violation());
    assert_eq!(notes(&db).await, ["a", "first", "taken"]);
}
