package ctl

// rolloutTopics explain rollouts: what it is about, and what is to be known of it.
var rolloutTopics = [][2]string{
	{"order", "all hosts are claimed, and get what they lack; then the canary, then one wave after the other, by name; with --spread never hosts of two zones at once"},
	{"canary", "--canary 1, 10% or a selector: the first wave; shares are rounded up"},
	{"waves", "--waves 10%,50%,100%, 1,5,20 or exp:2: how many hosts are reached in total after each; what the last leaves out is one more wave"},
	{"budgets", "--max-failures (0), --max-wave-failures (100%), --max-unreachable (10%): N, or a share of the hosts, rounded down"},
	{"failure", "a host whose upgrade fails goes back by itself; one more than --max-failures, and every touched host goes back, the last wave first, or waits for somebody with --on-failure hold"},
	{"unreachable", "makes nobody go back: past its budget the rollout holds, and goes on when hosts return; gracectl rollout resume goes on without them, or has them catch up"},
	{"checks", "--check-command, --check-http, --check-promql are asked from here about each host while it soaks, beside what its agent asks; --check-failures in a row turn it away"},
	{"claim", "every host stores the whole rollout and refuses other changes until it ends; two operators who choose by the same --hosts cannot both begin, whatever --limit says"},
	{"driver", "who runs the command; gone, hosts in flight end by themselves as --on-orphan says, nothing more begins, and anybody goes on after 15 s"},
	{"again", "the same command attaches to what is under way: it drives when nobody does, else it watches; both end with the rollout's exit code"},
	{"control", "gracectl rollout pause, promote, resume and abort, from any machine; resume --take-over -m WHY sends another driver away"},
	{"undo", "gracectl rollback SERVICE --rollout ID: each host returns to what it ran before, whatever this was, also after the end"},
	{"freeze", "gracectl freeze -m WHY: hosts refuse upgrades, and take part in no rollout, until gracectl unfreeze"},
	{"files", "an artifact or file is read and encoded once, sent to 8 hosts at a time, and not to hosts that have it; who goes on elsewhere names it: gracectl rollout resume ID ./web-v2"},
	{"plan", "--dry-run asks the hosts: what each would do, bytes to send, connections at risk by past drains, time; the report has these beside what came of it, for up to 200 hosts"},
	{"outcomes", "upgraded, unchanged, rolled-back, failed, unreachable, skipped, not-started: every host is in the report with one of them"},
	{"exit codes", "0 done; 1 nothing was touched; 2 usage; 3 would change; 4 failed, all is as before; 5 failed, hosts differ; 6 done but for unreachable hosts; 7 held by somebody else; 8 not over"},
	{"sets", "--hosts @failed:ID, @unreachable:ID, @not-started:ID, @rolled-back:ID, @skipped:ID, @upgraded:ID choose by what became of hosts"},
	{"texts", "{host.name}, {host.address}, {host.labels.KEY} and {host.vars.NAME} in the service file are each host's own; hosts for which all is equal share one release"},
	{"--notify", "POST of a JSON object: event (begin, wave, hold, end), time, rollout, service, actor, reason, waves, hosts (number by outcome); with wave: wave; hold: why; end: outcome, exitCode, why"},
	{"", "a URL has 5 s to answer 2xx; one that does not is a note and never holds the rollout up; it may be a secret and is never shown"},
	{"-o json", "a record per change, rollout or host, and at last result with exitCode, outcome, id and hosts"},
}

func (s *session) explainRollouts() error {
	if s.structured() {
		all := []object{}
		for _, topic := range rolloutTopics {
			all = append(all, object{{"topic", topic[0]}, {"meaning", topic[1]}})
		}
		return s.print(object{{"topics", all}})
	}
	t := &table{head: []string{"TOPIC", "MEANING"}}
	for _, topic := range rolloutTopics {
		t.add(cell{topic[0], ""}, cell{topic[1], ""})
	}
	return s.printTable(t)
}
