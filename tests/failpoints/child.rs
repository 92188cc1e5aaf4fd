//! The process in which a step fails: this test binary once more.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crm_cell::tenancy::Tenants;
use rustix::process::{Signal, getpid, kill_process};

use crate::history::History;
use crate::points::points;
use crate::support::PATIENCE;
use crate::workload::{self, Room, say};

/// Names the data root, and says that this is the process that is to fail.
const DIRECTORY: &str = "CRM_FAILPOINTS_TEST_DIRECTORY";
const ORDER: &str = "CRM_FAILPOINTS_TEST_ORDER";
/// A process that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing; how often each point is passed is counted.
    Count,
    /// The function fails.
    Error,
    Panic,
    /// The thread stands still for a while.
    Sleep,
    /// The process ends without unwinding, as by `kill -9`.
    Die,
}

/// One step that fails once.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) action: Action,
    pub(crate) point: String,
    /// The first time is 1.
    pub(crate) hit: usize,
    /// What the process does.
    pub(crate) script: Script,
}

/// What the process does until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// The whole workload.
    Workload(Room),
    /// One write to the tenant `acme`, with this number as its key.
    Write(usize),
}

impl Order {
    /// Carries out the order over the data root in `directory` in a process of its own, to its end.
    pub(crate) async fn run(&self, directory: &Path) -> (ExitStatus, History) {
        let [out, err] = ["out", "err"].map(|name| directory.join(name));
        let file = |path: &PathBuf| File::create(path).expect("created");
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "child::child", "--nocapture"])
            .env(DIRECTORY, directory)
            .env(ORDER, self.to_string())
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn()
            .expect("started");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if start.elapsed() > LIMIT {
                child.kill().and_then(|()| child.wait()).expect("killed");
                panic!("{self} hangs:\n{}", said(&out, &err));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let is_expected = if self.action == Action::Die { !status.success() } else { status.success() };
        assert!(is_expected, "{self} ended with {status}:\n{}", said(&out, &err));
        let history = History::of(&fs::read_to_string(&out).expect("UTF-8"));
        (status, history)
    }
}

fn said(out: &Path, err: &Path) -> String {
    [out, err].map(|path| fs::read_to_string(path).unwrap_or_default()).concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests of steps and replays"]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let order: Order = std::env::var(ORDER).expect("an order").parse().expect("an order");
    let counts = order.arm();
    let room = if let Script::Workload(room) = order.script { room } else { Room::Enough };
    let tenants = workload::open(&directory, room).await;
    match order.script {
        Script::Workload(_) => workload::run(&tenants).await,
        Script::Write(number) => crate::replays::write(&tenants, number).await,
    }
    close(&tenants).await;
    for (name, count) in counts {
        say(format_args!("hits {name} {}", count.load(Ordering::SeqCst)));
    }
}

async fn close(tenants: &Arc<Tenants>) {
    assert_eq!(tenants.close(PATIENCE).await, 0, "all tenants close");
    say("closed");
}

impl Order {
    /// Prepares the point. Returns how often each was passed, if that is what is asked.
    fn arm(&self) -> Vec<(String, Arc<AtomicUsize>)> {
        let hit = self.hit;
        let armed = match self.action {
            Action::Count => {
                let counted = points().into_iter().map(|point| (point.name, Arc::<AtomicUsize>::default()));
                let counted: Vec<_> = counted.collect();
                for (name, count) in &counted {
                    let count = count.clone();
                    let counts = move || {
                        count.fetch_add(1, Ordering::SeqCst);
                    };
                    fail::cfg_callback(name.clone(), counts).expect("armed");
                }
                return counted;
            }
            Action::Error => fail::cfg(&self.point, &format!("{}*off->1*return", hit - 1)),
            Action::Sleep => fail::cfg(&self.point, &format!("{}*off->1*sleep(150)", hit - 1)),
            Action::Panic => self.at_hit(|| panic!("as ordered")),
            Action::Die => self.at_hit(|| {
                kill_process(getpid(), Signal::KILL).expect("killed");
                std::thread::sleep(LIMIT); // the signal may take a moment
            }),
        };
        armed.expect("armed");
        Vec::new()
    }

    fn at_hit(&self, act: impl Fn() + Send + Sync + 'static) -> Result<(), String> {
        let (hit, passed) = (self.hit, AtomicUsize::new(0));
        fail::cfg_callback(self.point.clone(), move || {
            if passed.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                say("fired");
                act();
            }
        })
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} {} {:?}", self.action, self.point, self.hit, self.script)
    }
}

impl FromStr for Order {
    type Err = io::Error;

    fn from_str(text: &str) -> Result<Self, io::Error> {
        let malformed = || io::Error::other(format!("not an order: {text}"));
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or_else(malformed);
        let action = match word()? {
            "Count" => Action::Count,
            "Error" => Action::Error,
            "Panic" => Action::Panic,
            "Sleep" => Action::Sleep,
            "Die" => Action::Die,
            _ => return Err(malformed()),
        };
        let point = word()?.to_owned();
        let hit = word()?.parse().map_err(|_| malformed())?;
        let script = match word()? {
            "Workload(Little)" => Script::Workload(Room::Little),
            "Workload(Enough)" => Script::Workload(Room::Enough),
            write => {
                let number = write.strip_prefix("Write(").and_then(|rest| rest.strip_suffix(')'));
                Script::Write(number.and_then(|number| number.parse().ok()).ok_or_else(malformed)?)
            }
        };
        Ok(Self { action, point, hit, script })
    }
}
