//! `crm-cell doctor`.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::console::{Console, ConsoleArgs, Ending, table, text};
use super::through;
use crate::config::Config;
use crate::domain::TenantId;

/// Look for what is wrong: the data root, its disk, files that belong to nobody, copies, and all of every tenant's file
///
/// The exit code is 5 if there is a problem, and 0 if there are warnings only.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Look at the files of these tenants; absent: of all
    #[arg(value_name = "TENANT", conflicts_with = "quick")]
    tenants: Vec<TenantId>,
    /// Look at no tenant's file
    #[arg(long)]
    quick: bool,
    /// Ask the cell through a gateway too, at this URL of the cell behind it, with GATEWAY_TOKEN: whether it mixes tenants up, loses
    /// headers or damages bodies
    #[arg(long, value_name = "URL")]
    through: Option<String>,
}

pub(super) fn run(
    args: DoctorArgs,
    console: &ConsoleArgs,
    config: Config,
    working_directory: &Path,
) -> anyhow::Result<Ending> {
    let DoctorArgs { tenants, quick, through } = args;
    let token = config.events.gateway_token.clone();
    Console::run(console, config, working_directory, async |console| {
        let mut report = console.admin.get(&["doctor"], &[]).await?;
        let mut remarks = match report["remarks"].take() {
            Value::Array(remarks) => remarks,
            _ => Vec::new(),
        };
        if !quick {
            let body = json!({ "tenants": (!tenants.is_empty()).then_some(tenants) });
            let checked = console.watch(&["checks"], &body, |step| {
                for problem in step["problems"].as_array().into_iter().flatten() {
                    let subject = format!("tenant {}", text(&step["tenant"]));
                    remarks.push(json!({ "severity": "problem", "subject": subject, "message": problem }));
                }
                if let Some(why) = step["unchecked"].as_str() {
                    let (subject, message) =
                        (format!("tenant {}", text(&step["tenant"])), format!("not looked at: {why}"));
                    remarks.push(json!({ "severity": "warning", "subject": subject, "message": message }));
                }
            });
            let checked = checked.await?;
            let message =
                format!("{} looked at, {} of them not sound", checked["checked"], checked["unsound"]);
            remarks.push(json!({ "severity": "ok", "subject": "files", "message": message }));
        }
        if let Some(url) = through {
            console.check_runs("--through", "nobody answers behind the gateway")?;
            remarks.extend(through::examine(&console, &url, token).await?);
        }
        match console.admin.get(&["log", "verify"], &[]).await {
            Ok(whole) => {
                let message = format!("{} entries, whole", whole["entries"]);
                remarks.push(json!({ "severity": "ok", "subject": "operators' log", "message": message }));
            }
            Err(error) => remarks.push(json!({
                "severity": "problem", "subject": "operators' log", "message": error.to_string()
            })),
        }
        let has_problem = remarks.iter().any(|remark| remark["severity"] == "problem");
        console.print(&json!({ "remarks": remarks }), |report| {
            let mut table = table(&["", "WHAT", "FOUND"]);
            for remark in report["remarks"].as_array().into_iter().flatten() {
                let fields = ["severity", "subject", "message"];
                table.add_row(fields.map(|field| text(&remark[field])));
            }
            table.to_string()
        })?;
        Ok(if has_problem { Ending::Partly } else { Ending::Done })
    })
}
