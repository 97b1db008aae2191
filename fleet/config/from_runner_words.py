"""What becomes of those keys of gitlab-runner's config.toml that fleet.toml does not have."""

EXECUTORS = {
    "kubernetes": "jobs do not run in a cluster: no pool; write one for EC2 or Lambda by hand",
    "docker-windows": "the fleet has no Windows machines: no pool",
    "custom": "a custom executor's scripts do not carry over: no pool",
    "ssh": "jobs run on machines of the fleet, not on yours: no pool",
    "parallels": "the fleet has no macOS machines: no pool",
    "virtualbox": "the fleet has no VirtualBox machines: no pool",
}
GLOBAL = {
    "check_interval": "no manager polls: GitLab's webhook starts a launch",
    "log_level": "logs are JSON lines in CloudWatch",
    "log_format": "logs are JSON lines in CloudWatch",
    "listen_address": "metrics are in CloudWatch, and at /metrics of `runner-fleet dashboard`",
    "session_server": "no interactive web terminal: a machine takes no connection",
    "sentry_dsn": "errors are in CloudWatch's logs and alarms",
    "shutdown_timeout": "no manager: machines finish their job",
    "connection_max_age": "no manager keeps connections",
}
RUNNER = {
    "request_concurrency": "no manager asks for jobs",
    "output_limit": "gitlab-runner's own default counts",
    "builds_dir": "jobs of the docker executor build in /builds",
    "cache_dir": "`cache:` of the jobs is kept in S3",
    "clone_url": "machines clone from [gitlab] url",
    "pre_get_sources_script": "write it into `default: hooks:` of .gitlab-ci.yml",
    "pre_clone_script": "write it into `default: hooks:` of .gitlab-ci.yml",
    "post_clone_script": "write it into `default: before_script:` of .gitlab-ci.yml",
    "pre_build_script": "write it into `default: before_script:` of .gitlab-ci.yml",
    "post_build_script": "write it into `default: after_script:` of .gitlab-ci.yml",
    "shell": "jobs run with bash",
    "debug_trace_disabled": "gitlab-runner's own default counts",
    "unhealthy_requests_limit": "no manager asks for jobs",
}
TABLES = {
    "kubernetes": "only for the executor kubernetes",
    "ssh": "no one logs into a machine",
    "custom": "only for the executor custom",
    "custom_build_dir": "gitlab-runner's own default counts",
    "plugin_config": "the fleet launches by itself: types, image and subnets are keys of the pool",
    "connector_config": "no one logs into a machine",
    "referees": "`explain` shows what a job used",
}
DOCKER = {
    "services": "write them into `services:` of .gitlab-ci.yml",
    "tls_verify": "the engine is on the job's own machine",
    "host": "the engine is on the job's own machine",
    "disable_cache": "a machine has one job",
    "cache_dir": "a machine has one job",
    "volumes_from": "a machine has one job",
    "network_mode": "gitlab-runner's own default counts: write FF_NETWORK_PER_BUILD into env",
    "allowed_images": "nothing in the fleet limits the images of jobs",
    "allowed_services": "nothing in the fleet limits the services of jobs",
    "allowed_pull_policies": "nothing in the fleet limits what jobs ask for",
    "cpus": "not a plain number of processors: write docker.cpus by hand",
    "memory": "not of the form 512m or 2g: write docker.memory by hand",
}
MACHINE = {
    "MaxGrowthRate": "the pace of launches follows [gitlab] calls_per_minute",
    "MaxBuilds": "always one job for each machine",
    "IdleCountMin": "the idle target is a number of its own for each hour",
    "IdleScaleFactor": "the idle target is a number of its own for each hour",
    "MachineDriver": "machines are EC2's",
    "MachineName": "machines are named by the fleet",
    "OffPeakIdleTime": "a pool has one idle_time",
}
OPTIONS = {
    "amazonec2-region": "the region of the stack: `runner-fleet up --region`",
    "amazonec2-zone": "subnets says in which zones machines run",
    "amazonec2-vpc-id": "give it to `runner-fleet init --vpc` or `up --parameter VpcId=`",
    "amazonec2-spot-price": "there is no highest price: budget_usd_per_day bounds the bill",
    "amazonec2-iam-instance-profile": "machines have the role of the stack; jobs use ID tokens",
    "amazonec2-security-group": "machines have a group of the stack, without a way in",
    "amazonec2-private-address-only": "the subnet says whether machines get a public address",
    "amazonec2-use-private-address": "nothing connects to a machine",
    "amazonec2-tags": "machines have the fleet's tags",
    "amazonec2-userdata": "the boot script is the fleet's: put yours into a machine image",
    "amazonec2-volume-type": "disks are gp3",
    "amazonec2-monitoring": "what a job used stands in `explain`",
}
AUTOSCALER = {
    "capacity_per_instance": "always one job for each machine",
    "max_use_count": "always one job for each machine",
    "plugin": "the fleet launches by itself: no plugin, and no scaling group",
    "update_interval": "the fleet looks when it hears of a job",
    "delete_instances_on_shutdown": "no manager: machines end after their job",
    "instance_ready_command": "the fleet waits for the machine's first report",
    "instance_acquire_timeout": "boot_deadline",
    "log_internal_ip": "`explain` names the machine",
}
PLUGIN = {"name": "the scaling group goes: its launch template has the types, the image, the disk"}
