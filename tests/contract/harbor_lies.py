"""What Harbor does otherwise than its API descriptions say: each complaint by name, with the reason and its source.

>>> "GET /users/current: 412" in LIES_2
True
"""

from collections.abc import Iterator, Mapping

Reasons = tuple[tuple[str, tuple[str, ...]], ...]
_TAGS = "/repositories/{repo_name}/tags"
_ARTIFACTS = "/projects/{project_name}/repositories/{repository_name}/artifacts"
_ARTIFACT = f"{_ARTIFACTS}/{{reference}}"


def _named(reasons: Reasons) -> Iterator[tuple[str, str]]:
    for reason, names in reasons:
        yield from ((name, reason) for name in names)


# Sources are those of goharbor/harbor v1.7.8, whose description calls itself 1.7.0.
LIES_1: Mapping[str, str] = dict(
    _named(
        (
            (
                "with Admiral, users, groups, members and single projects have no routes. src/core/router.go",
                ("GET /users/current: 404", "GET /users: 404", "GET /usergroups: 404"),
            ),
            (
                "who is nobody, or has no right, is told so everywhere. src/core/api/base.go",
                (
                    "GET /projects/{project_id}: 403",
                    "GET /projects/{project_id}/logs: 403",
                    "GET /repositories: 401",
                    "POST /projects: 403",
                ),
            ),
            (
                "what is not there is told so everywhere. src/core/api/{project,repository}.go",
                ("GET /projects/{project_id}: 404", f"GET {_TAGS}/{{tag}}: 404"),
            ),
            (
                "the holder of an Admiral token has no metadata. src/core/api/metadata.go",
                ("GET /projects/{project_id}/metadatas: 405",),
            ),
            (
                "an id that is none is told so before its project is looked for. src/core/api/metadata.go",
                ("GET /projects/{project_id}/metadatas: 400",),
            ),
            ("a page that there cannot be. src/common/api/base.go (GetPaginationParams)", ("GET /projects: 400",)),
            ("a tag that Notary has signed stays. src/core/api/repository.go", (f"DELETE {_TAGS}/{{tag}}: 412",)),
            (
                "fields came with the code and not with the description. src/common/models/accesslog.go",
                (
                    "GET /projects/{project_id}/logs: 200: has guid",
                    "GET /projects/{project_id}/logs: 200: has project_id",
                ),
            ),
            (
                "as before. src/core/api/systeminfo.go (GeneralInfo)",
                tuple(
                    f"GET /systeminfo: 200: has {name}"
                    for name in ("read_only", "registry_storage_provider_name", "registry_url", "with_chartmuseum")
                ),
            ),
            (
                "as before; and an unsigned tag has null for a signature. src/core/api/repository.go (tagDetail)",
                tuple(
                    f"GET {_TAGS}{tag}: 200: {what}"
                    for tag in ("", "/{tag}")
                    for what in ("has config", "has os.version", "signature: type")
                ),
            ),
            (
                "a map that holds nothing is written as null. src/common/models/project.go",
                ("GET /projects: 200: metadata: type",),
            ),
        )
    )
)
# Sources are those of goharbor/harbor v2.15.2.
LIES_2: Mapping[str, str] = dict(
    _named(
        (
            (
                "a robot is no user, and is known all the same. src/server/v2.0/handler/user.go (GetCurrentUserInfo)",
                ("GET /users/current: 412",),
            ),
            (
                "refusals are the security context's, in every handler. src/server/v2.0/handler/base.go",
                (
                    "GET /auditlog-exts/events: 403",
                    "GET /projects/{project_name_or_id}: 403",
                    "GET /projects/{project_name}/auditlog-exts: 403",
                    "GET /robots: 401",
                    "HEAD /projects: 401",
                    "POST /labels: 403",
                    "POST /projects: 403",
                ),
            ),
            (
                "what is not there is told to those who see all. src/server/v2.0/handler/{project,immutable}.go",
                (
                    "DELETE /projects/{project_name_or_id}/immutabletagrules/{immutable_rule_id}: 404",
                    "GET /projects/{project_name_or_id}: 404",
                ),
            ),
            (
                "nobody of that name. src/controller/member/controller.go",
                ("POST /projects/{project_name_or_id}/members: 404",),
            ),
            (
                "auditlog-exts came with 2.13. api/v2.0/swagger.yaml of 2.12",
                ("GET /projects/{project_name}/auditlog-exts: 404",),
            ),
            (
                "a handler's own, without a word. src/server/v2.0/handler/usergroup.go",
                ("POST /usergroups: 400: no body",),
            ),
            ("the name is taken. src/controller/robot/controller.go", ("POST /robots: 409",)),
            (
                "immutable, signed or held by an index. src/controller/{artifact,tag}/controller.go",
                (
                    f"DELETE {_ARTIFACT}/tags/{{tag_name}}: 412",
                    f"DELETE {_ARTIFACT}: 412",
                    f"POST {_ARTIFACTS}: 412",
                ),
            ),
            (
                "a scan is running, or nobody scans. src/controller/scan/base_controller.go",
                (f"POST {_ARTIFACT}/scan: 409", f"POST {_ARTIFACT}/scan: 412"),
            ),
            (
                "a query that cannot be read. src/server/middleware/requestid, src/lib/q/builder.go",
                ("GET /projects: 400",),
            ),
            (
                "parameters are bound before anything else. src/lib/http/error.go; goharbor/harbor#13765",
                ("GET /projects: 422", "POST /projects: 422", f"POST {_ARTIFACTS}: 422"),
            ),
            (
                "a bag of whatever the image's config says, mostly texts. src/controller/artifact/processor/image",
                tuple(
                    f"GET {path}: 200: extra_attrs.{name}: type"
                    for path in ("/projects/{project_name_or_id}/artifacts", _ARTIFACTS, _ARTIFACT)
                    for name in ("architecture", "author", "created", "os")
                ),
            ),
            (
                "reports by media type, and no text. src/server/v2.0/handler/artifact.go (GetVulnerabilitiesAddition)",
                (f"GET {_ARTIFACT}/additions/vulnerabilities: 200: type",),
            ),
        )
    )
)
