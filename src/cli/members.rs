//! `crm-cell tenants members`: the users whom a tenant's own file binds to it.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::console::{Console, Ending, table, text};
use crate::domain::TenantId;
use crate::identity;

#[derive(Debug, Subcommand)]
pub(super) enum MembersCommand {
    /// Make users members of a tenant; those who are stay so
    Add {
        #[command(flatten)]
        of: Of,
        /// Users, as their tokens name them
        #[arg(value_name = "USER", required = true, value_parser = user)]
        users: Vec<String>,
        /// Create the tenant if there is none
        #[arg(long)]
        create: bool,
    },
    /// Take users off the members of a tenant
    Remove {
        #[command(flatten)]
        of: Of,
        /// Users, as their tokens name them
        #[arg(value_name = "USER", required = true, value_parser = user)]
        users: Vec<String>,
    },
    /// List the members of a tenant
    List {
        #[command(flatten)]
        of: Of,
    },
}

/// Whose members.
#[derive(Debug, Args)]
pub(super) struct Of {
    /// The tenant's id
    #[arg(value_name = "TENANT")]
    tenant: TenantId,
}

fn user(text: &str) -> Result<String, &'static str> {
    identity::user_name(text)
        .map(|name| name.as_ref().to_owned())
        .ok_or("a user has 1 to 128 characters, is not blank, and has no control characters")
}

/// Does what the command says, then prints who the members are.
pub(super) async fn run(console: &Console, command: MembersCommand) -> anyhow::Result<Ending> {
    let path = |tenant: &TenantId| ["tenants".to_owned(), tenant.to_string(), "members".to_owned()];
    let change = async |tenant: &TenantId, body: Value| {
        let path = path(tenant);
        console.admin.send(Method::PATCH, &path.each_ref().map(String::as_str), &body).await
    };
    let members = match command {
        MembersCommand::Add { of, users, create } => {
            if create {
                console.admin.send(Method::PUT, &["tenants", of.tenant.as_str()], &json!({})).await?;
            }
            change(&of.tenant, json!({ "add": users })).await?
        }
        MembersCommand::Remove { of, users } => change(&of.tenant, json!({ "remove": users })).await?,
        MembersCommand::List { of } => {
            console.admin.get(&path(&of.tenant).each_ref().map(String::as_str), &[]).await?
        }
    };
    if members["members"].as_array().is_some_and(Vec::is_empty) && !console.is_json() {
        eprintln!(
            "{} has no members: with CRM_TENANT_BINDING=header it admits callers whose identity names no tenant",
            text(&members["tenant"])
        );
        return Ok(Ending::Done);
    }
    console.print(&members, |members| {
        let mut table = table(&["ADDED", "USER"]);
        for member in members["members"].as_array().into_iter().flatten() {
            table.add_row([text(&member["addedAt"]), text(&member["userId"])]);
        }
        table.to_string()
    })?;
    Ok(Ending::Done)
}
