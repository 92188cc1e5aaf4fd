//! Freezing all files, for tools that copy a volume or `tenants/`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::{Operator, data_root, names};
use crate::support::Cell;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_copied_while_files_are_frozen_is_whole_and_writes_wait_for_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    cell.tenant("acme").create_customer("first").await;
    let writers = (0..4).map(|writer| {
        let acme = cell.tenant("acme");
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..60 {
                let name = format!("客户 {writer}-{number}");
                acme.create_customer(&name).await; // 201, or the test fails
                acknowledged.push((name, std::time::Instant::now()));
            }
            acknowledged
        })
    });
    let writers: Vec<_> = writers.collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = std::time::Instant::now();

    let (frozen, copied) = {
        let root = directory.path().to_owned();
        let frozen = tokio::task::spawn_blocking(move || {
            let script = "test ! -s crm_cell/tenants/acme.db-wal && mkdir taken && \
                          cp crm_cell/tenants/acme.db taken/ && sleep 1 && cmp crm_cell/tenants/acme.db taken/acme.db";
            Operator(&root).run(&["freeze", "--", "sh", "-c", script])
        });
        (frozen.await.expect("frozen"), names(&directory.path().join("taken/acme.db")))
    };

    assert_eq!(frozen.code, 0, "{frozen:?}");
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        for (name, at) in writer.await.expect("every write is answered 201") {
            assert!(at > begun || copied.contains(&name), "acknowledged before, and not in the copy: {name}");
            acknowledged.insert(name);
        }
    }
    assert!(acknowledged.len() > copied.len(), "they went on afterwards");
    operator.ok(&["backup", "--all"]);
}

#[tokio::test]
async fn operators_wait_or_thaw_and_files_thaw_by_themselves() {
    let directory = tempfile::tempdir().expect("a directory");
    let cell = Cell::start(directory.path());
    let operator = Operator(directory.path());
    let acme = cell.tenant("acme");
    acme.create_customer("华为").await;

    operator.ok(&["freeze", "--for", "1m"]);

    operator.refused(&["freeze"], 4);
    let said = operator.refused(&["tenants", "suspend", "acme"], 4);
    assert!(said.contains("crm-cell thaw"), "{said}");
    assert_eq!(acme.get("/customers").await.json()["total"], 1, "reads go on");
    operator.ok(&["thaw"]);
    acme.create_customer("小米").await;
    assert_eq!(operator.run(&["thaw"]).code, 5, "nothing was frozen");

    operator.ok(&["freeze", "--for", "1s"]);
    acme.create_customer("中兴").await; // waits until they thaw by themselves
    let late = operator.refused(&["freeze", "--for", "1s", "--", "sleep", "2"], 1);
    assert!(late.contains("had thawed before"), "{late}");
    let failed = operator.refused(&["freeze", "--", "false"], 1);
    assert!(failed.contains("false failed"), "{failed}");
}

#[test]
fn nothing_is_frozen_where_no_cell_runs() {
    let (directory, root) = data_root();
    let said = Operator(directory.path()).refused(&["freeze"], 1);
    assert!(said.contains("no cell runs"), "{said}");
    assert!(fs::metadata(root.join("admin.sock")).is_err(), "no socket is left");
}
