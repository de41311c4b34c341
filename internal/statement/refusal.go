package statement

// Refusal says which part of a signed statement stands against its use.
type Refusal struct {
	// Part is form, service, platform, artifact, release, expires, key or signature.
	Part   string
	Reason string
}

// Error is the reason.
func (r *Refusal) Error() string { return r.Reason }

// Metadata is the part, for programs.
func (r *Refusal) Metadata() map[string]string { return map[string]string{"part": r.Part} }
