//! Scenarios by how many tenants they are spread over.

use anyhow::Context as _;

use crate::client::{self, Connection, Requests};
use crate::report::Figure::{P99, PerSecond};
use crate::report::Target::{AtLeast, AtMost, None as NoTarget};
use crate::report::{Group as Rounds, Ratio, Report};
use crate::scenarios::{self, Tenants};
use crate::servers::{Server, tenants_of};
use crate::{CONNECTIONS, Options, ceiling, data};

/// Scenarios over so many tenants.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    tenants: usize,
    /// Customers in each at the beginning.
    rows: u64,
    ratios: &'static [Ratio],
}

const fn rate(of: &'static str, to: &'static str, target: crate::report::Target) -> Ratio {
    Ratio { of, to, figure: PerSecond, target }
}

pub(crate) const ALL: [Group; 3] = [
    Group {
        name: "1 tenant",
        tenants: 1,
        rows: 20_000,
        ratios: &[
            rate("health", "hello", NoTarget),
            rate("get", "hello", AtLeast(0.45)),
            rate("get", "get, pools", NoTarget),
            rate("list", "hello", NoTarget),
            rate("deep cursor", "list", NoTarget),
            rate("post", "ceiling", AtLeast(0.50)),
            rate("post", "post, pools", AtLeast(8.0)),
            rate("patch", "post", NoTarget),
            rate("replay", "post", NoTarget),
            rate("mix 80/20", "hello", NoTarget),
            Ratio { of: "get beside writes", to: "get, 32", figure: P99, target: AtMost(3.0) },
        ],
    },
    Group {
        name: "100 tenants",
        tenants: 100,
        rows: 200,
        ratios: &[
            rate("get", "hello", AtLeast(0.28)),
            rate("get", "get, pools", NoTarget),
            rate("post", "post, pools", AtLeast(2.3)),
            rate("mix 80/20", "hello", NoTarget),
        ],
    },
    Group {
        name: "2000 tenants",
        tenants: 2000,
        rows: 200,
        ratios: &[
            rate("get", "hello", NoTarget),
            rate("get", "get, pools", NoTarget),
            rate("post", "post, pools", NoTarget),
            rate("mix 80/20", "hello", NoTarget),
        ],
    },
];

/// Who answers.
#[derive(Clone, Copy)]
enum By {
    Cell,
    Hello,
    Pools,
}

struct Subject {
    name: &'static str,
    by: By,
    requests: Requests,
}

impl Group {
    pub(crate) async fn measure(&self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let of_cell = directory.path().join("cell");
        data::fill(&options.cell, &of_cell, self.tenants, self.rows).await?;
        let of_pools = data::copy_all(&tenants_of(&of_cell), &directory.path().join("pools"))?;
        let ceiling = data::copy_all(&tenants_of(&of_cell), &directory.path().join("ceiling"))?.join("t0.db");
        let cell = Server::cell(&options.cell, &of_cell, None)?;
        let hello = Server::baseline("hello", &of_pools)?;
        let pools = Server::baseline("naive", &of_pools)?;
        let tenants = Tenants::new(self.tenants, self.rows)?;
        let subjects = self.subjects(&cell, &tenants).await?;
        let wanted =
            |name: &str| options.subject.as_ref().is_none_or(|subject| name.contains(subject.as_str()));
        let needed =
            |name: &str| wanted(name) || self.ratios.iter().any(|ratio| wanted(ratio.of) && ratio.to == name);
        let mut rounds = Rounds::default();
        for _ in 0..options.rounds {
            for Subject { name, by, requests } in subjects.iter().filter(|subject| needed(subject.name)) {
                let server = match by {
                    By::Cell => &cell,
                    By::Hello => &hello,
                    By::Pools => &pools,
                };
                rounds.add(name, client::run(&server.address, CONNECTIONS, options.time(), requests).await?);
            }
            if self.tenants > 1 {
                continue;
            }
            if needed("ceiling") {
                rounds.add("ceiling", ceiling::run(&ceiling, CONNECTIONS, options.time()).await?);
            }
            if needed("get beside writes") {
                let (get, post) = (tenants.get(), tenants.post());
                let reads = |requests| client::run(&cell.address, CONNECTIONS / 2, options.time(), requests);
                rounds.add("get, 32", reads(&get).await?);
                let (beside, writes) = tokio::try_join!(reads(&get), reads(&post))?;
                rounds.add("get beside writes", beside);
                rounds.add("post beside reads", writes);
            }
        }
        let p99 = rounds.p99("post");
        report.add(format!("{}, {} customers each", self.name, self.rows), rounds, self.ratios);
        if self.tenants == 1 && !p99.is_empty() {
            report.figure("p99 ms of post", p99, AtMost(10.0));
        }
        cell.stop()
    }

    /// What is measured over any number of tenants, and what only over one.
    async fn subjects(&self, cell: &Server, tenants: &Tenants) -> anyhow::Result<Vec<Subject>> {
        let of = |name, by, requests| Subject { name, by, requests };
        let mut subjects = vec![
            of("hello", By::Hello, scenarios::open("/hello")),
            of("get", By::Cell, tenants.get()),
            of("get, pools", By::Pools, tenants.get()),
            of("post", By::Cell, tenants.post()),
            of("post, pools", By::Pools, tenants.post()),
            of("mix 80/20", By::Cell, tenants.mix()),
        ];
        if self.tenants == 1 {
            let mut connection = Connection::open(&cell.address).await?;
            connection.send(&tenants.read(&format!("/customers?page={}", self.rows / 25))).await?;
            let page = connection.json()?;
            let cursor = page["nextCursor"].as_str().context("a cursor")?;
            subjects.extend([
                of("health", By::Cell, scenarios::open("/health/live")),
                of("list", By::Cell, tenants.read("/customers")),
                of("deep cursor", By::Cell, tenants.read(&format!("/customers?cursor={cursor}"))),
                of("patch", By::Cell, tenants.patch()),
                of("replay", By::Cell, tenants.replay()),
            ]);
        }
        Ok(subjects)
    }
}
