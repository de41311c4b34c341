// Package label says what the labels of hosts may be, in inventories and where an agent
// registers its own. It is pure. What one side takes the other has to take, or one host
// would spoil the inventory for all.
//
//   - label.go: their names and values
package label

import "regexp"

// What every host has in selectors by itself, and no label may be called.
const (
	Name  = "name"
	Group = "group"
)

var (
	keyForm   = regexp.MustCompile(`\A[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?\z`)
	valueForm = regexp.MustCompile(`\A[A-Za-z0-9._:/@+-]{0,128}\z`)
)

// Reserved says whether every host has a key by itself.
func Reserved(key string) bool { return key == Name || key == Group }

// ValidKey says whether a text can be what selectors ask for: a label, or what is
// reserved.
func ValidKey(text string) bool { return keyForm.MatchString(text) }

// ValidValue says whether selectors can say a text as a value.
func ValidValue(text string) bool { return valueForm.MatchString(text) }
