//! SQLite's one writer: whose turn it is, and transactions that share a commit.
//!
//! A commit costs an fsync and every page that was touched, whether one transaction is in it or thirty. Those that say
//! so ([`super::Db::grouped`]) and find others waiting behind them leave the transaction of SQLite open: each of
//! the others runs in it behind a savepoint. Nobody is answered before the commit of all. What one of them does wrong,
//! or stops half-way, is rolled back to its savepoint; when the whole falls, each is run again by itself.

use super::Error;
use super::later::Later;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

type Guard = OwnedMutexGuard<Writer>;

/// Transactions that share a commit at most: what falls together is run again together.
const GROUP_MAX: usize = 32;

/// Those who want to write, first come, first served.
pub(super) struct Line {
    writer: Arc<Mutex<Writer>>,
    /// How many wait who would share a commit. Only a hint: whoever leaves a group open has somebody close it.
    joining: AtomicUsize,
}

/// The connection that writes. Nobody else does, so its pages and its prepared statements stay good from one
/// transaction to the next.
struct Writer {
    pool: AnyPool,
    connection: Option<PoolConnection<Any>>,
    /// Somebody began and has not ended in order: what he did must fall.
    unfit: bool,
    /// He has a savepoint of his own.
    inside: bool,
    open: Option<Group>,
    /// Groups that were ever opened.
    groups: u64,
}

/// A transaction of SQLite that holds several of ours.
struct Group {
    number: u64,
    /// Makes the next one's savepoint, and ends that of the one before.
    savepoint: &'static str,
    /// Who waits for the commit; each is told whether it was made.
    members: Vec<oneshot::Sender<bool>>,
}

/// A transaction of ours; dropped, it never was.
pub(super) struct Turn {
    line: Arc<Line>,
    /// `None`: it has ended.
    writer: Option<Guard>,
    grouped: bool,
}

impl Line {
    pub(super) fn new(pool: AnyPool) -> Self {
        let writer = Writer { pool, connection: None, unfit: false, inside: false, open: None, groups: 0 };
        Self { writer: Arc::new(Mutex::new(writer)), joining: AtomicUsize::new(0) }
    }

    /// Waits for its turn, and begins.
    pub(super) async fn begin(self: &Arc<Self>, grouped: bool) -> Result<Turn, sqlx::Error> {
        let mut writer = self.turn(grouped).await;
        if writer.open.is_some() && !(grouped && writer.mend().await) {
            writer = close_now(writer).await?;
        }
        // Dropped from here on, it has not ended in order.
        let mut turn = Turn { line: Arc::clone(self), writer: Some(writer), grouped };
        turn.writer().begin().await?;
        Ok(turn)
    }

    async fn turn(&self, grouped: bool) -> Guard {
        let _counted = grouped.then(|| Counted::new(&self.joining));
        Arc::clone(&self.writer).lock_owned().await
    }

    /// Closes a group, behind all who waited when it was opened.
    async fn close_later(self: Arc<Self>, number: u64) {
        let writer = self.turn(false).await;
        if writer.open.as_ref().is_some_and(|group| group.number == number) {
            close(writer).await;
        }
    }

    /// Nothing begins any more.
    pub(super) async fn end(&self) {
        if let Ok(mut writer) = close_now(self.turn(false).await).await {
            writer.connection = None;
            let pool = writer.pool.clone();
            drop(writer);
            pool.close().await;
        }
    }
}

impl Writer {
    /// As one more of the open group, or anew.
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        (self.unfit, self.inside) = (true, false);
        if self.connection.is_none() {
            self.connection = Some(self.pool.acquire().await?);
        }
        let begin = match &mut self.open {
            Some(group) => std::mem::replace(&mut group.savepoint, "RELEASE member; SAVEPOINT member"),
            None => "BEGIN IMMEDIATE",
        };
        self.say(begin).await?;
        self.inside = self.open.is_some();
        Ok(())
    }

    /// Takes back what somebody left in the open group; false: it cannot be told from the others' part.
    async fn mend(&mut self) -> bool {
        if self.unfit && self.inside {
            self.unfit = self.say("ROLLBACK TO member").await.is_err();
        }
        !self.unfit
    }

    async fn say(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        let connection = self.connection.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        sqlx::query(statement).execute(connection).await.map(|_| ())
    }

    /// With the connection goes whatever it has not committed.
    fn discard(&mut self) {
        drop(self.connection.take().map(PoolConnection::detach));
        self.unfit = false;
    }
}

/// Commits what is open, whoever stops waiting for it meanwhile.
async fn close_now(writer: Guard) -> Result<Guard, sqlx::Error> {
    // A task ends before its time only with the service itself.
    tokio::spawn(close(writer)).await.map_err(|_| sqlx::Error::WorkerCrashed)
}

/// Commits the open group and tells its members. Runs in a task of its own: dropped half-way, nobody would know.
async fn close(mut writer: Guard) -> Guard {
    let Some(group) = writer.open.take() else { return writer };
    let ended = if writer.mend().await { writer.say("COMMIT").await.map_err(Some) } else { Err(None) };
    if let Err(why) = &ended {
        let transactions = group.members.len();
        tracing::warn!(error = ?why, transactions, "a shared commit fell: each is tried by itself");
        writer.discard();
    }
    for member in group.members {
        // Who stopped waiting is told nothing; it stays committed.
        let _ = member.send(ended.is_ok());
    }
    writer
}

impl Turn {
    fn writer(&mut self) -> &mut Writer {
        // Unwrap safety: only what consumes the turn takes it.
        self.writer.as_mut().expect("a turn has the writer until it ends")
    }

    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        // Unwrap safety: it was there when the turn began, and is discarded when a turn or a group has ended.
        self.writer().connection.as_deref_mut().expect("a turn has a connection until it ends")
    }

    /// Says what is left to say and commits, alone or with others; what is `Ok` is durable.
    pub(super) async fn commit(mut self, later: Later) -> Result<(), Error> {
        let joining = self.grouped && self.line.joining.load(Ordering::Relaxed) > 0;
        let alone = self.writer().open.is_none() && !joining;
        let last = if alone { later.and("COMMIT") } else { later };
        if !last.is_empty() {
            last.say(self.connection()).await?;
        }
        if alone {
            self.writer().unfit = false;
            return Ok(());
        }
        match self.leave_open().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Fallen),
            Err(_) => Err(Error::Unknown),
        }
    }

    /// Where it fails, it falls with its connection.
    pub(super) async fn rollback(mut self) {
        let writer = self.writer();
        let back = if writer.open.is_some() { "ROLLBACK TO member" } else { "ROLLBACK" };
        if writer.say(back).await.is_ok() {
            writer.unfit = false;
        }
    }

    /// Lets the next one in. The receiver is told when the group is closed.
    fn leave_open(&mut self) -> oneshot::Receiver<bool> {
        let (told, outcome) = oneshot::channel();
        let line = Arc::clone(&self.line);
        let Some(mut guard) = self.writer.take() else { return outcome };
        let writer = &mut *guard;
        let group = writer.open.get_or_insert_with(|| {
            writer.groups += 1;
            tokio::spawn(line.close_later(writer.groups));
            Group { number: writer.groups, savepoint: "SAVEPOINT member", members: Vec::new() }
        });
        writer.unfit = false;
        group.members.push(told);
        if group.members.len() >= GROUP_MAX {
            tokio::spawn(close(guard));
        }
        outcome
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The lock that it holds in the file must not wait for the next one. A group has somebody who mends it.
        if let Some(writer) = self.writer.as_mut().filter(|writer| writer.unfit && writer.open.is_none()) {
            writer.discard();
        }
    }
}

/// One more, for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
