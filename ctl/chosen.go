package ctl

import (
	"context"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory/fetch"
)

// hosts are those that the flags choose of the inventory. It is read once in a run.
func (s *session) hosts(ctx context.Context) ([]inventory.Host, error) {
	if s.chosen == nil {
		choice, err := s.choice(ctx)
		if err != nil {
			return nil, err
		}
		if s.chosen, err = s.known.Choose(choice); err != nil {
			return nil, misuse(err)
		}
	}
	return s.chosen, nil
}

// choice is what the flags ask for, of an inventory that is known then.
func (s *session) choice(ctx context.Context) (inventory.Choice, error) {
	var none inventory.Choice
	if err := s.resolve(); err != nil {
		return none, err
	}
	switch {
	case s.to.inventory == "":
		return none, usage("--hosts, --all and --limit choose from an inventory: name it with --inventory, GRACECTL_INVENTORY or --context")
	case s.flags.all && len(s.flags.hosts) > 0:
		return none, usage("--all and --hosts: say one of them")
	case !s.flags.all && len(s.flags.hosts) == 0:
		return none, usage("of the inventory %s: which hosts? --hosts SELECTOR, or --all", s.to.inventory)
	}
	choice, err := s.flags.choice()
	if err != nil {
		return none, err
	}
	choice.Sets = func(word, argument string) ([]string, error) { return s.hostsOfRollout(ctx, word, argument) }
	return choice, s.readInventory(ctx)
}

// readInventory makes the inventory known.
func (s *session) readInventory(ctx context.Context) error {
	if s.known != nil {
		return nil
	}
	from, err := fetch.Parse(s.to.inventory, s.to.etcd)
	if err != nil {
		return misuse(err)
	}
	s.known, err = from.Read(ctx)
	return err
}

// listed says whether hosts of an inventory are meant, which are chosen then.
func (s *session) listed(ctx context.Context) (bool, error) {
	if err := s.resolve(); err != nil || s.alone() {
		return false, err
	}
	_, err := s.hosts(ctx)
	return true, err
}

// several says whether more than one host is meant.
func (s *session) several(ctx context.Context) (bool, error) {
	listed, err := s.listed(ctx)
	return listed && len(s.chosen) > 1, err
}

// choice is what the flags ask for.
func (t *targetFlags) choice() (inventory.Choice, error) {
	var c inventory.Choice
	for _, flag := range []struct {
		texts []string
		to    *[]inventory.Selector
	}{{t.hosts, &c.Hosts}, {t.limit, &c.Limit}} {
		for _, text := range flag.texts {
			selector, err := inventory.ParseSelector(text)
			if err != nil {
				return c, misuse(err)
			}
			*flag.to = append(*flag.to, selector)
		}
	}
	return c, nil
}

// oneHost is the host of a command that asks one agent.
func (s *session) oneHost(ctx context.Context) (inventory.Host, error) {
	hosts, err := s.chosenOrOne(ctx)
	if err != nil {
		return inventory.Host{}, err
	}
	if len(hosts) > 1 {
		return inventory.Host{}, usage("this command takes one host, and %d are chosen: %s", len(hosts), few(names(hosts)))
	}
	return hosts[0], nil
}

// chosenOrOne is the hosts that are chosen, or the one agent's where there is no
// inventory.
func (s *session) chosenOrOne(ctx context.Context) ([]inventory.Host, error) {
	if err := s.resolve(); err != nil {
		return nil, err
	}
	if s.alone() {
		return []inventory.Host{{Name: s.to.agent, Address: s.to.agent, AgentID: s.to.agentID}}, nil
	}
	return s.hosts(ctx)
}

func names(hosts []inventory.Host) []string {
	all := make([]string, len(hosts))
	for i, h := range hosts {
		all[i] = h.Name
	}
	return all
}

// few names the first of many.
func few(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + ", ..."
}
