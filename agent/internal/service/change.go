package service

// Change is one difference between two specifications.
type Change struct {
	// Field is the key in the service file, such as "drain.timeout".
	Field string
	From  string
	To    string
	// Immediate changes act at once, the others with the next generation.
	Immediate bool
}
