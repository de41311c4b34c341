package preflight

import "slices"

// Result is how one check went.
type Result string

// The results.
const (
	OK      Result = "ok"
	Warning Result = "warning" // works today, and may not tomorrow
	Problem Result = "problem" // an upgrade would fail, or lose requests
	Skipped Result = "skipped" // what came before makes it moot
)

// Finding is what one check says.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Detail string `json:"detail,omitempty"`
	// Remedy says what to do about it.
	Remedy string `json:"remedy,omitempty"`
}

// Report is what came of a trial.
type Report struct {
	Service  string    `json:"service"`
	Findings []Finding `json:"findings"`
}

// Fit says whether no check found a problem.
func (r *Report) Fit() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Result == Problem })
}

func (r *Report) ok(check, detail string) {
	r.Findings = append(r.Findings, Finding{Check: check, Result: OK, Detail: detail})
}

func (r *Report) skip(check, why string) {
	r.Findings = append(r.Findings, Finding{Check: check, Result: Skipped, Detail: why})
}

func (r *Report) add(result Result, check, detail, remedy string) {
	r.Findings = append(r.Findings, Finding{check, result, detail, remedy})
}
