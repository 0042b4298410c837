"""EKS Pod Identity: associations of service accounts with roles, and the EKS Auth API that the node's agent calls.

`AssumeRoleForPodIdentity` is a service of its own (`eks-auth`): it takes a pod's token, meant for
`pods.eks.amazonaws.com`, and gives credentials of the role that the pod's service account is associated with, where
the role trusts EKS.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from twinplane.cloud.contract import AwsCredentials
from twinplane.cloud.eks import tags
from twinplane.cloud.eks.call import Call, Context, Operation, page, public
from twinplane.cloud.eks.errors import EksError, in_use, invalid_parameter, not_found
from twinplane.cloud.eks.state import Record
from twinplane.cloud.iam.service_account_token import IssuerKeys, TokenRefused, claims_of
from twinplane.cloud.iam.trust import Asking, allows
from twinplane.cloud.identity import ServiceSessions, assumed_role_arn

KIND = "podidentity"
AUDIENCE = "pods.eks.amazonaws.com"
SECONDS = 6 * 3600
SHOWN = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId", "ownerArn")
"""What ListPodIdentityAssociations says of each."""


class PodIdentity:
    def __init__(self, context: Context) -> None:
        self._context = context

    def operations(self) -> dict[str, Operation]:
        return {
            "CreatePodIdentityAssociation": self._create,
            "DescribePodIdentityAssociation": self._describe,
            "ListPodIdentityAssociations": self._list,
            "UpdatePodIdentityAssociation": self._update,
            "DeletePodIdentityAssociation": self._delete,
        }

    def find(self, cluster: str, namespace: str, account: str) -> Record | None:
        for _, record in self._context.state.below(KIND, cluster):
            if (record["namespace"], record["serviceAccount"]) == (namespace, account):
                return record
        return None

    async def _create(self, call: Call) -> Record:
        cluster = self._context.cluster(call["clusterName"])["name"]
        tags.check(call.get("tags", {}))
        await self._context.in_thread(self._check_role, call["roleArn"])
        existing = self.find(cluster, call["namespace"], call["serviceAccount"])
        if existing is not None:
            raise in_use(f"Association already exists: {existing['associationId']}", clusterName=cluster)
        identifier = "a-" + self._context.uuid().replace("-", "")[:17]
        record = {
            "clusterName": cluster,
            "namespace": call["namespace"],
            "serviceAccount": call["serviceAccount"],
            "roleArn": call["roleArn"],
            "associationArn": self._context.arn(f"podidentityassociation/{cluster}/{identifier}"),
            "associationId": identifier,
            "tags": dict(call.get("tags", {})),
            "createdAt": self._context.now(),
            "modifiedAt": self._context.now(),
            "disableSessionTags": call.get("disableSessionTags", False),
        }
        self._check_target(call)
        self._context.state.put(KIND, (cluster, identifier), record)
        return {"association": public(record)}

    async def _describe(self, call: Call) -> Record:
        return {"association": public(self._get(call))}

    async def _list(self, call: Call) -> Record:
        cluster = self._context.cluster(call["clusterName"])["name"]
        wanted = {key: call.get(key) for key in ("namespace", "serviceAccount") if call.get(key)}
        matching = [
            {key: record[key] for key in SHOWN if key in record}
            for _, record in self._context.state.below(KIND, cluster)
            if wanted.items() <= record.items()
        ]
        found, more = page(matching, call)
        return {"associations": found, **more}

    async def _update(self, call: Call) -> Record:
        record = self._get(call)
        self._check_target(call)
        if call.get("roleArn"):
            await self._context.in_thread(self._check_role, call["roleArn"])
            record["roleArn"] = call["roleArn"]
        record["disableSessionTags"] = call.get("disableSessionTags", record["disableSessionTags"])
        record["modifiedAt"] = self._context.now()
        self._context.state.put(KIND, (record["clusterName"], record["associationId"]), record)
        return {"association": public(record)}

    async def _delete(self, call: Call) -> Record:
        record = self._get(call)
        self._context.state.remove(KIND, (record["clusterName"], record["associationId"]))
        return {"association": public(record)}

    def _get(self, call: Call) -> Record:
        cluster = self._context.cluster(call["clusterName"])["name"]
        found = self._context.state.get(KIND, cluster, call["associationId"])
        if found is None:
            raise not_found(f"No PodIdentityAssociation found for ID: {call['associationId']}.", clusterName=cluster)
        return found

    def _check_role(self, arn: str) -> None:
        iam = self._context.clients.client("iam")
        try:
            iam.get_role(RoleName=arn.rsplit("/", 1)[-1])
        except iam.exceptions.NoSuchEntityException:
            raise invalid_parameter(f"Role provided in the request does not exist: {arn}") from None

    @staticmethod
    def _check_target(call: Call) -> None:
        for member in ("targetRoleArn", "policy"):
            if call.get(member):
                raise invalid_parameter(f"{member} is not supported by this region yet")


class EksAuth:
    """The API `eks-auth`; `handle` of the EKS service's protocol calls its one operation."""

    def __init__(
        self, context: Context, associations: PodIdentity, sessions: ServiceSessions, issuer_keys: IssuerKeys
    ) -> None:
        self._context = context
        self._associations = associations
        self._sessions = sessions
        self._issuer_keys = issuer_keys

    def operations(self) -> dict[str, Operation]:
        return {"AssumeRoleForPodIdentity": self._assume}

    async def _assume(self, call: Call) -> Record:
        cluster = self._context.cluster(call["clusterName"])
        claims = self._claims(call["token"], cluster)
        _, _, namespace, account = [*str(claims.get("sub", "")).split(":"), "", "", "", ""][:4]
        association = self._associations.find(cluster["name"], namespace, account)
        if association is None:
            raise EksError(
                "ResourceNotFoundException",
                f"No pod identity association found for service account {namespace}/{account} in cluster "
                f"{cluster['name']}",
            )
        role = await self._context.in_thread(self._role, association["roleArn"])
        issued, expiration, arn, user_id = self._issue(cluster["name"], role, claims)
        return {
            "subject": {"namespace": namespace, "serviceAccount": account},
            "audience": AUDIENCE,
            "podIdentityAssociation": {key: association[key] for key in ("associationArn", "associationId")},
            "assumedRoleUser": {"arn": arn, "assumeRoleId": user_id},
            "credentials": {
                "sessionToken": issued.session_token,
                "secretAccessKey": issued.secret_access_key,
                "accessKeyId": issued.access_key_id,
                "expiration": expiration,
            },
        }

    def _claims(self, token: str, cluster: Record) -> dict[str, Any]:
        try:
            claims = claims_of(token, self._issuer_keys, self._context.clock.now())
        except TokenRefused as refused:
            code = "ExpiredTokenException" if refused.reason == "expired" else "InvalidTokenException"
            raise EksError(code, str(refused)) from refused
        given = claims.get("aud", [])
        if AUDIENCE not in ([given] if isinstance(given, str) else given):
            raise EksError("InvalidTokenException", f"Audience of the token is not {AUDIENCE}")
        if claims["iss"] != cluster["identity"]["oidc"]["issuer"]:
            raise EksError("InvalidTokenException", f"Issuer of the token is not cluster {cluster['name']}")
        return claims

    def _role(self, arn: str) -> Record:
        try:
            role: Record = self._context.clients.client("iam").get_role(RoleName=arn.rsplit("/", 1)[-1])["Role"]
        except ClientError as error:
            raise EksError("AccessDeniedException", f"Unauthorized Exception! EKS does not find role {arn}") from error
        for action in ("sts:AssumeRole", "sts:TagSession"):
            if not allows(role["AssumeRolePolicyDocument"], Asking("Service", (AUDIENCE,), action, {})):
                raise EksError(
                    "AccessDeniedException",
                    f"Unauthorized Exception! EKS does not have permissions to assume the associated role: {arn} "
                    f"({action})",
                )
        return role

    def _issue(self, cluster: str, role: Record, claims: dict[str, Any]) -> tuple[AwsCredentials, float, str, str]:
        pod = (claims.get("kubernetes.io") or {}).get("pod", {}).get("name", "pod")
        session = f"eks-{cluster}-{pod}-{self._context.uuid()}"[:64]
        arn = assumed_role_arn(self._context.account_id, role["RoleName"], session)
        user_id = f"{role['RoleId']}:{session}"
        expiration = float(int(self._context.clock.now()) + SECONDS)
        return self._sessions.issue(arn, user_id=user_id, expiration=expiration), expiration, arn, user_id
