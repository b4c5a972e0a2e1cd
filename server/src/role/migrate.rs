//! `holdfastd migrate`: brings the database up to date and ends.

use crate::config::Config;
use crate::db::Db;
use anyhow::Context as _;

pub async fn run(config: &Config) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("the data folder {} cannot be made", config.data_dir.display()))?;
    let db = Db::open(&config.database_url(), 1).await.context("the database cannot be opened")?;
    db.migrate().await?;
    db.close().await;
    Ok(())
}
