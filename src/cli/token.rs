//! `crm-cell token`: mints a JWT for development.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config;
use crate::domain::{Clock, TenantId};
use crate::identity::{self, DevToken, Role};

/// Mint a JWT for development, signed with CRM_JWT_SECRET; prints only the token
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// User the token is for
    #[arg(long, value_name = "USER", default_value = "developer")]
    sub: String,
    /// Tenant the user is bound to; without it the caller is unbound
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// admin, manager, member, readonly or service; without it the caller is a member
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Confine the user to records of their own
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// How long the token is valid: 90s, 15m, 12h, 30d
    #[arg(long, value_name = "DURATION", default_value = "12h", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    /// What the user owns
    #[value(name = "self")]
    Own,
}

/// Prints the token that `args` ask for.
///
/// # Errors
///
/// If no JWT secret is configured or a cell with these settings would refuse the token; says what to change.
pub(super) fn run(args: &TokenArgs, auth: &config::Auth, clock: &dyn Clock) -> anyhow::Result<()> {
    let wanted = DevToken {
        user: &args.sub,
        tenant: args.tenant.as_ref(),
        role: args.role,
        own_rows_only: matches!(args.scope, Some(Scope::Own)),
        ttl: args.ttl,
    };
    let token = identity::mint(&wanted, auth, clock.now())?;
    writeln!(io::stdout(), "{token}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        token: TokenArgs,
    }

    #[test]
    fn reads_every_option_and_has_defaults() {
        Cli::command().debug_assert();
        let given = [
            "token", "--sub", "zhang", "--tenant", "acme", "--role", "manager", "--scope", "self", "--ttl",
            "15m",
        ];
        let args = Cli::try_parse_from(given).expect("valid").token;
        assert_eq!((args.sub.as_str(), args.ttl), ("zhang", Duration::from_secs(900)));
        assert_eq!(args.tenant.map(String::from).as_deref(), Some("acme"));
        assert_eq!(args.role, Some(Role::Manager));
        assert!(matches!(args.scope, Some(Scope::Own)));

        let args = Cli::try_parse_from(["token"]).expect("valid").token;
        assert_eq!((args.sub.as_str(), args.ttl), ("developer", Duration::from_secs(12 * 3600)));
        assert!(args.tenant.is_none() && args.role.is_none() && args.scope.is_none());
    }

    #[test]
    fn refuses_what_a_cell_would_refuse() {
        for given in [["--tenant", "../x"], ["--role", "root"], ["--scope", "team"], ["--ttl", "soon"]] {
            assert!(Cli::try_parse_from(["token", given[0], given[1]]).is_err(), "{given:?}");
        }
    }
}
