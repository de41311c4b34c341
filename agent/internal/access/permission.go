package access

import "slices"

// Permission is what a caller must have to use a method.
type Permission string

// The permissions.
const (
	Read     Permission = "read"
	Logs     Permission = "logs" // logs leak secrets
	Push     Permission = "push"
	Upgrade  Permission = "upgrade"
	Rollback Permission = "rollback"
	Stop     Permission = "stop"
	Admin    Permission = "admin" // chooses user, command and environment; includes the others
	None     Permission = "none"  // for everyone who may connect
)

// Permissions are all that can be granted, in the order of their power.
func Permissions() []Permission {
	return []Permission{Read, Logs, Push, Upgrade, Rollback, Stop, Admin}
}

func known(p Permission) bool { return slices.Contains(Permissions(), p) }
