"""One simulated GitLab instance, without its HTTP face."""

from collections import Counter
from pathlib import Path

from local.gitlab.accounts import Accounts
from local.gitlab.chaos import Chaos, ChaosOrder
from local.gitlab.engine import PipelineEngine
from local.gitlab.options import Clock, Options
from local.gitlab.runners import Runners
from local.gitlab.variables import GitLabInstance
from local.gitlab.webhooks.delivery import Dispatcher
from local.gitlab.webhooks.hooks import Hooks, note_success


class GitLabWorld:
    """The records and settings of the instance; only for the server's event loop."""

    def __init__(self, data_dir: Path, *, options: Options, base_url: str) -> None:
        self.data_dir = data_dir
        self.options = options
        self.base_url = base_url
        self.instance = GitLabInstance(base_url=base_url, version=options.gitlab_version)
        self.clock = Clock()
        self.chaos = Chaos(options.seed)
        self.calls: Counter[str] = Counter()  # "METHOD /templated/path" -> API calls
        self.hooks = Hooks()
        self.runners = Runners(options)
        self.dispatcher = Dispatcher(
            self.hooks,
            options=options,
            clock=self.clock,
            chaos=self.chaos,
            base_url=base_url,
        )
        self.ci = PipelineEngine(options=options, clock=self.clock, listener=self.dispatcher)
        repositories = data_dir / "repositories"
        repositories.mkdir(parents=True, exist_ok=True)
        (data_dir / "artifacts").mkdir(exist_ok=True)
        self.accounts = Accounts(repositories, build_timeout_s=options.build_timeout_s)
        self.root = self.accounts.add_user("root", name="Administrator", is_admin=True)
        self.root_token = self.accounts.add_token(
            self.root, name="root", scopes=frozenset({"api"})
        ).token

    def disturb(self, order: ChaosOrder) -> None:
        """Put faults in force: what the order leaves out stays as it is."""
        self.chaos.apply(order, at=self.clock.now())
        for hook in self.hooks.by_id.values():
            if order.hook_disabled:
                hook.is_disabled = True
            elif order.hook_disabled is False:
                note_success(hook)
