// Package etcd keeps what a fleet shares in etcd: which hosts there are, who drives a
// rollout, what became of earlier ones. Nothing there is believed beyond that: agents
// prove themselves by their certificates, and keep a second driver away by themselves.
//
//		PREFIX hosts/NAME          a host, as its agent registers it, with a lease
//		PREFIX drivers/SERVICE     who drives a rollout of the service, with a lease
//		PREFIX rollouts/SERVICE/ID what became of a rollout
//
//	  - place.go: etcds://HOST,HOST/PREFIX
//	  - access.go: who asks, and what proves the servers
//	  - client.go: Client, and reading many keys
//	  - hosts.go: the hosts
//	  - drive.go: a service is one rollout's at a time; hold.go: while it is
//	  - history.go: rollouts that have ended
package etcd
