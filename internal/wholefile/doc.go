// Package wholefile replaces files so that after a crash or power cut at any
// instant the old bytes or the new ones are found, whole. Agent and client keep
// certificates and keys by it.
//
//   - wholefile.go: one file, or several that are staged before the first is replaced
package wholefile
