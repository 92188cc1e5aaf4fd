//! Retries after a crash: what was written answers as before, what was not is written now, once.

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;

use crate::cell::{Answer, Client};
use crate::workload::{Fate, Write};

/// What repeating writes came to.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    pub(crate) sent: usize,
    /// Not what they should have been, in words.
    pub(crate) wrong: Vec<String>,
}

impl Replays {
    /// How many there were, if each of them was what it should have been.
    pub(crate) fn all_exact(self) -> anyhow::Result<usize> {
        let Self { sent, wrong } = self;
        ensure!(wrong.is_empty(), "{} replays are wrong: {:?}", wrong.len(), wrong.first());
        Ok(sent)
    }
}

/// Repeats writes, those of each tenant in their order. `was_written` says which of them are known to be in the files;
/// all of them are acknowledged afterwards.
pub(crate) async fn repeat<'w>(
    client: &Client,
    writes: impl IntoIterator<Item = &'w mut Write>,
    was_written: impl Fn(&Write) -> bool,
) -> anyhow::Result<Replays> {
    let mut replays = Replays::default();
    let mut answers = futures_util::stream::iter(writes)
        .map(async |write: &mut Write| {
            let answer = write.send(client).await;
            (write, answer)
        })
        .buffered(16);
    while let Some((write, answer)) = answers.next().await {
        let answer = answer.with_context(|| format!("repeating {}", write.request_id))?;
        replays.sent += 1;
        let is_right = match &write.fate {
            Fate::Acknowledged(first) => answer == Answer { replayed: true, ..first.clone() },
            Fate::Unknown | Fate::Refused => answer.is_success() && answer.replayed == was_written(write),
        };
        if !is_right {
            let told = &write.fate;
            replays.wrong.push(format!("{}: told {told:?}, now {answer:?}", write.request_id));
        }
        write.fate = Fate::Acknowledged(answer);
    }
    Ok(replays)
}
