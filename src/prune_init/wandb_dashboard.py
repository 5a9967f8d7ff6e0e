"""A W&B workspace for runs of `logger=wandb`: accuracy by scorer, curves, densities, cost, parallel coordinates.

    prune-init dashboard --entity me --project prune_init

Needs the extra `prune_init[dashboard]` and a login. Each call makes a new view of the project and prints its address;
existing views are not changed.
"""

import sys

from prune_init.arguments import Parser


def main() -> None:
    """Save the workspace and print its address."""
    parser = Parser(__doc__)
    parser.add_argument("--entity", help="user or team; default: that of the login")
    parser.add_argument("--project", default="prune_init", help="as in logger.project; default: %(default)s")
    parser.add_argument("--name", default="pruning at initialisation", help="of the view; default: %(default)s")
    chosen = parser.parse_args()
    try:
        from prune_init.wandb_workspace import workspace
    except ImportError:
        sys.exit("wandb_workspaces: is not installed; needs: pip install 'prune_init[dashboard]'")
    import wandb

    if not wandb.login(prompt=False, verify=False):
        sys.exit("login: nobody is logged in; run `wandb login` or set WANDB_API_KEY")
    try:
        entity = chosen.entity or wandb.Api().default_entity or ""
        view = workspace(entity, chosen.project, chosen.name)
        view.save()
    except Exception as error:  # W&B's client raises many types for refusals and broken connections
        reason = " ".join(str(error).split())
        sys.exit(f"project={chosen.entity or ''}/{chosen.project}: W&B refused the workspace ({reason})")
    print(view.url)


if __name__ == "__main__":
    main()
