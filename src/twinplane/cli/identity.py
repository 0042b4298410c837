"""AWS identity of pods: utils associate-iam-oidc-provider; create, get, delete iamserviceaccount and
podidentityassociation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from twinplane.cli.cluster import account_of
from twinplane.cli.command import Command, cluster_flag, output_flag
from twinplane.cli.eksctl.account import Account
from twinplane.cli.output import CommandError, Progress, print_document, print_table
from twinplane.cli.region_access import RegionAccess, region_access

NO_CHANGES = "no changes were applied, run again with '--approve' to apply the changes"


def _approve_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--approve", action="store_true", help="apply the changes; without it they are only told")


def _cluster(access: RegionAccess, name: str) -> tuple[Account, dict[str, Any]]:
    from twinplane.cli.eksctl import cluster

    account = account_of(access)
    described = cluster.describe(account, name)
    if described is None:
        raise CommandError(f"No cluster found for name: {name}.")
    return account, described


# -- utils associate-iam-oidc-provider ---------------------------------------------------------------------------------


def _associate_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    _approve_flag(parser)


def _associate(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import identity

    access = region_access(arguments.data_dir)
    account, cluster = _cluster(access, arguments.cluster)
    progress = Progress()
    where = f'cluster "{arguments.cluster}" in "{access.settings.region}"'
    if identity.provider_arn(account, cluster) is not None:
        progress.info(f"IAM Open ID Connect provider is already associated with {where}")
    elif not arguments.approve:
        progress.info(f"(plan) would create IAM Open ID Connect provider for {where}")
        progress.warn(NO_CHANGES)
    else:
        identity.associate_provider(account, cluster)
        progress.done(f"created IAM Open ID Connect provider for {where}")


# -- create iamserviceaccount ------------------------------------------------------------------------------------------


def _account_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("-n", "--name", required=True, help="name of the service account")
    parser.add_argument("--namespace", default="default", help="its namespace (default: default)")
    parser.add_argument("--attach-policy-arn", metavar="ARN", nargs="+", action="extend", default=[], help="policies")
    parser.add_argument("--attach-role-arn", metavar="ARN", default="", help="an existing role, instead of a new one")
    parser.add_argument("--role-name", default="", help="name of the new role")
    parser.add_argument("--role-only", action="store_true", help="make no service account")
    parser.add_argument("--override-existing-serviceaccounts", action="store_true", help="annotate one that exists")
    _approve_flag(parser)


def _create_account(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import identity
    from twinplane.cli.eksctl.identity_config import Permissions, ServiceAccount, problems_of_account
    from twinplane.cli.eksctl.nodes import api_of

    wanted = ServiceAccount(
        arguments.namespace,
        arguments.name,
        Permissions(_listed(arguments.attach_policy_arn)),
        arguments.attach_role_arn,
        arguments.role_name,
        arguments.role_only,
    )
    if problems_of_account(wanted):
        raise CommandError("--attach-policy-arn or --attach-role-arn must be set, and not both")
    access = region_access(arguments.data_dir)
    account, cluster = _cluster(access, arguments.cluster)
    progress = Progress()
    if not arguments.approve:
        progress.info(f'(plan) would create iamserviceaccount "{wanted.namespace}/{wanted.name}"')
        progress.warn(NO_CHANGES)
        return
    override = arguments.override_existing_serviceaccounts
    identity.create_service_account(account, cluster, api_of(access, cluster), wanted, progress, override=override)


# -- create podidentityassociation -------------------------------------------------------------------------------------


def _association_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("--namespace", required=True, help="namespace of the service account")
    parser.add_argument("--service-account-name", required=True, help="name of the service account")
    parser.add_argument("--role-arn", default="", help="an existing role, instead of a new one")
    parser.add_argument("--role-name", default="", help="name of the new role")
    parser.add_argument(
        "--permission-policy-arns",
        metavar="ARN",
        nargs="+",
        action="extend",
        default=[],
        help="policies of the new role",
    )
    parser.add_argument("--create-service-account", action="store_true", help="make the service account as well")


def _create_association(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import identity
    from twinplane.cli.eksctl.identity_config import Association, Permissions, problems_of_association
    from twinplane.cli.eksctl.nodes import api_of

    wanted = Association(
        arguments.namespace,
        arguments.service_account_name,
        Permissions(_listed(arguments.permission_policy_arns)),
        arguments.role_arn,
        arguments.role_name,
        arguments.create_service_account,
    )
    if problems_of_association(wanted):
        raise CommandError("--role-arn, or --permission-policy-arns for a new role, must be set, and not both")
    access = region_access(arguments.data_dir)
    account, cluster = _cluster(access, arguments.cluster)
    identity.create_association(account, cluster, api_of(access, cluster), wanted, Progress())


# -- get and delete ----------------------------------------------------------------------------------------------------


def _get_accounts(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import identity
    from twinplane.cli.eksctl.nodes import api_of

    access = region_access(arguments.data_dir)
    _, cluster = _cluster(access, arguments.cluster)
    _show(arguments, identity.service_accounts(api_of(access, cluster)), ("NAMESPACE", "NAME", "ROLE ARN"))


def _get_associations(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import identity

    account, _ = _cluster(region_access(arguments.data_dir), arguments.cluster)
    headings = ("ASSOCIATION ARN", "NAMESPACE", "SERVICE ACCOUNT NAME", "IAM ROLE ARN")
    _show(arguments, identity.associations(account, arguments.cluster), headings)


def _show(arguments: argparse.Namespace, rows: Sequence[tuple[str, ...]], headings: tuple[str, ...]) -> None:
    if arguments.output == "table":
        print_table(headings, rows)
    else:
        keys = [heading.title().replace(" ", "") for heading in headings]
        print_document([dict(zip(keys, row, strict=True)) for row in rows], arguments.output)


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    output_flag(parser)


def _delete_account_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("-n", "--name", required=True, help="name of the service account")
    parser.add_argument("--namespace", default="default", help="its namespace (default: default)")


def _delete_account(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import identity
    from twinplane.cli.eksctl.nodes import api_of

    access = region_access(arguments.data_dir)
    account, cluster = _cluster(access, arguments.cluster)
    identity.delete_service_account(account, cluster, api_of(access, cluster), arguments.namespace, arguments.name)
    Progress().info(f'deleted serviceaccount "{arguments.namespace}/{arguments.name}"')


def _delete_association_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("--namespace", required=True, help="namespace of the service account")
    parser.add_argument("--service-account-name", required=True, help="name of the service account")


def _delete_association(arguments: argparse.Namespace) -> None:
    from twinplane.cli.eksctl import identity

    account, _ = _cluster(region_access(arguments.data_dir), arguments.cluster)
    identity.delete_association(account, arguments.cluster, arguments.namespace, arguments.service_account_name)
    target = f"{arguments.namespace}/{arguments.service_account_name}"
    Progress().info(f'deleted pod identity association for service account "{target}"')


def _listed(given: list[str]) -> tuple[str, ...]:
    """Separated by commas, as eksctl's users write them, or by spaces."""
    return tuple(part for entry in given for part in entry.split(",") if part)


ASSOCIATE = Command("Make the IAM OIDC provider of a cluster", _associate_arguments, _associate)
CREATE_ACCOUNT = Command("Make a role and a service account that uses it (IRSA)", _account_arguments, _create_account)
CREATE_ASSOCIATION = Command(
    "Give a service account a role through EKS Pod Identity", _association_arguments, _create_association
)
GET_ACCOUNTS = Command("List service accounts with a role that eksctl made", _get_arguments, _get_accounts)
GET_ASSOCIATIONS = Command("List the associations of EKS Pod Identity", _get_arguments, _get_associations)
DELETE_ACCOUNT = Command("Delete a service account and its role", _delete_account_arguments, _delete_account)
DELETE_ASSOCIATION = Command("Delete an association and its role", _delete_association_arguments, _delete_association)
