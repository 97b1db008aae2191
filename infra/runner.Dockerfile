# The image of the fleet's machines, in two targets, for x86-64 and arm64:
#
#   ec2     gitlab-runner, git, git-lfs, ssh and the agent. A machine runs it as /opt/runner-fleet/bin/agent. It is
#           gitlab-runner's helper image as well: `helper_image` in config.toml names the reference by which the machine
#           pulled this image, so a job needs no pull besides its own.
#   lambda  that, and what light jobs need: docs/images.md. Its entry is /opt/runner-fleet/bin/sandbox, which serves
#           Lambda's runtime API with awslambdaric.
#
# The context is the one of infra/image_sources.py: this file and its scripts, the locks, the agent's packages, and
# `given/`, which may hold `gitlab-runner` (with its checksum as an argument) and `ca.crt`, an authority that only the
# build trusts. Any builder works: docs/images.md says how to change an argument.

# By their digests, which name manifest lists of both architectures.
ARG BASE=public.ecr.aws/docker/library/debian:bookworm-slim@sha256:4724b8cc51e33e398f0e2e15e18d5ec2851ff0c2280647e1310bc1642182655d
# Images with this Python in /usr/local, built for Debian 12; of no use to target ec2.
ARG PYTHON_3_12=public.ecr.aws/docker/library/python:3.12-slim-bookworm@sha256:34386ef0cb081344d7ec1c103ba398e6e9f64e9ab3a1509accc92a4e24a07258
ARG PYTHON_3_13=public.ecr.aws/docker/library/python:3.13-slim-bookworm@sha256:01f42367a0a94ad4bc17111776fd66e3500c1d87c15bbd6055b7371d39c124fb


# ---- What needs the network and tools that no image keeps
FROM ${BASE} AS workshop
ENV DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PIP_ROOT_USER_ACTION=ignore
RUN apt-get update --quiet --quiet \
 && apt-get install --quiet --quiet --yes --no-install-recommends ca-certificates curl gnupg python3 python3-pip
COPY given/ /given/
RUN if [ -f /given/ca.crt ]; then cp /given/ca.crt /usr/local/share/ca-certificates/given.crt && update-ca-certificates; fi

FROM workshop AS fetched
COPY requirements/agent.txt /requirements/
RUN pip install --quiet --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
      --target /packages --requirement /requirements/agent.txt \
 && rm -rf /packages/bin
ARG GITLAB_RUNNER_VERSION=17.9.0
ARG GITLAB_RUNNER_SHA256_X86_64=
ARG GITLAB_RUNNER_SHA256_ARM64=
ARG GITLAB_RUNNER_RELEASES=https://s3.dualstack.us-east-1.amazonaws.com/gitlab-runner-downloads
ARG GITLAB_RUNNER_KEY=https://packages.gitlab.com/runner/gitlab-runner/gpgkey/runner-gitlab-runner-49F16C5CC3A0F81F.pub.gpg
ARG GITLAB_RUNNER_SIGNER=931DA69CFA3AFEBBC97DAA8C6C57C29C6BA75A4E
COPY runner_image/gitlab_runner.sh /
RUN /gitlab_runner.sh /gitlab-runner


# ---- What both images share besides the sources, which come last: they change most.
FROM ${BASE} AS shared
ENV DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
RUN apt-get update --quiet --quiet \
 && apt-get upgrade --quiet --quiet --yes \
 && apt-get install --quiet --quiet --yes --no-install-recommends \
      bash ca-certificates git git-lfs openssh-client python3-minimal python3 tzdata \
 && git lfs install --system --skip-repo \
 && git config --system --add safe.directory '*'
COPY --from=fetched /gitlab-runner /usr/bin/gitlab-runner
COPY --from=fetched /packages /opt/runner-fleet/packages
ENV RUNNER_FLEET_GITLAB_RUNNER=/usr/bin/gitlab-runner


# ---- Target ec2. The last stage is flat, so what a stage removes from its base is gone.
FROM shared AS ec2-tree
COPY adapters /opt/runner-fleet/adapters
COPY fleet /opt/runner-fleet/fleet
COPY ec2_runner /opt/runner-fleet/ec2_runner
COPY runner_image/agent.sh /opt/runner-fleet/bin/agent
# The commands of gitlab-runner's helper are in gitlab-runner itself.
COPY runner_image/helper.sh /usr/bin/gitlab-runner-build
COPY runner_image/versions.py /opt/runner-fleet/
COPY runner_image/finish.sh /
RUN ln -s gitlab-runner /usr/bin/gitlab-runner-helper && /finish.sh ec2

FROM scratch AS ec2
COPY --from=ec2-tree / /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    RUNNER_FLEET_GITLAB_RUNNER=/usr/bin/gitlab-runner
CMD ["/opt/runner-fleet/bin/agent"]


# ---- Target lambda
FROM ${PYTHON_3_12} AS python-3-12
FROM ${PYTHON_3_13} AS python-3-13

FROM workshop AS toolchains
COPY requirements/sandbox.txt requirements/tools.txt /requirements/
RUN pip install --quiet --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
      --target /sandbox --requirement /requirements/sandbox.txt \
 && rm -rf /sandbox/bin \
 && pip install --quiet --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
      --target /packages --requirement /requirements/tools.txt
COPY runner_image/fetch.sh runner_image/downloads.txt runner_image/node.sh /
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN /node.sh 22 && /node.sh 24
# By their hashes, which corepack checks.
ARG PNPM=pnpm@10.34.8+sha512.f627a8e971343afe49dfd0f63d028234201dfa831d5cb588733e1e5f8db26bf16989a32161ab5c1b4db3b1fdbc373160606b5b89e002df6dd19a85adf91fc5a8
ARG YARN=yarn@1.22.22+sha512.a6b2f7906b721bba3d67d4aff083df04dad64c399707841b7acf00f6b133b7ac24255f2652fa22ae3534329dc6180534e98d17432037ff6fd140556e2bb3137e
RUN PATH=/opt/node/24/bin:$PATH COREPACK_HOME=/opt/corepack corepack install --global "$PNPM" "$YARN"

FROM shared AS lambda-tree
RUN apt-get install --quiet --quiet --yes --no-install-recommends \
      findutils g++ gcc jq libc6-dev make procps python3-dev python3-pip python3-venv tar unzip xz-utils zip zstd curl \
      libbz2-1.0 libexpat1 libffi8 libgdbm6 libgdbm-compat4 liblzma5 libncursesw6 libnsl2 libreadline8 libsqlite3-0 \
      libssl3 libtirpc3 libuuid1 netbase zlib1g
COPY --from=toolchains /opt/node /opt/node
COPY --from=toolchains /opt/corepack /opt/corepack
COPY --from=toolchains /packages/bin/uv /packages/bin/uvx /usr/local/bin/
COPY --from=python-3-12 /usr/local/ /opt/python/3.12/
COPY --from=python-3-13 /usr/local/ /opt/python/3.13/
COPY --from=toolchains /sandbox /opt/runner-fleet/packages
COPY runner_image/package_manager.sh runner_image/interpreters.sh /
# gitlab-runner's shell is a login shell, and Debian's profile would have it forget the PATH below.
RUN printf 'for file in /etc/profile.d/*.sh; do if [ -r "$file" ]; then . "$file"; fi; done\n' >/etc/profile \
 && /interpreters.sh
COPY adapters /opt/runner-fleet/adapters
COPY fleet /opt/runner-fleet/fleet
COPY lambda_runner /opt/runner-fleet/lambda_runner
COPY runner_image/sandbox.sh /opt/runner-fleet/bin/sandbox
COPY runner_image/versions.py /opt/runner-fleet/
COPY runner_image/finish.sh /
RUN /finish.sh lambda

FROM scratch AS lambda
COPY --from=lambda-tree / /
# A registry's lazy-loading index makes an image of Lambda's fail to start.
LABEL DISABLE_SOCI=1
# A job gets PATH of these. The other folders are where its HOME, which is /tmp in Lambda, has them anyway.
ENV PATH=/opt/node/24/bin:/opt/python/3.13/bin:/usr/local/bin:/usr/bin:/bin:/opt/python/3.12/bin:/opt/python/3.11/bin:/tmp/.local/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    TMPDIR=/tmp \
    XDG_CACHE_HOME=/tmp/.cache \
    XDG_CONFIG_HOME=/tmp/.config \
    XDG_DATA_HOME=/tmp/.local/share \
    XDG_STATE_HOME=/tmp/.local/state \
    COREPACK_HOME=/tmp/.cache/node/corepack \
    PIP_CACHE_DIR=/tmp/.cache/pip \
    UV_CACHE_DIR=/tmp/.cache/uv \
    npm_config_cache=/tmp/.npm \
    RUNNER_FLEET_GITLAB_RUNNER=/usr/bin/gitlab-runner
WORKDIR /opt/runner-fleet
ENTRYPOINT ["/opt/runner-fleet/bin/sandbox"]
CMD ["lambda_runner.handler.handler"]
