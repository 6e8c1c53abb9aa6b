package commands

import (
	"strconv"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// An ExitCode is one row of the table that "keyturn help exit-codes" prints.
type ExitCode struct {
	Code    int        `json:"code"`
	Kinds   []pam.Kind `json:"kinds"`
	Meaning string     `json:"meaning"`
}

// ExitCodes returns the table of exit codes. The code of a kind is
// [pam.Kind.Code]; a test holds the two together.
func ExitCodes() []ExitCode {
	return []ExitCode{
		{0, []pam.Kind{}, "ok"},
		{
			1,
			[]pam.Kind{pam.ErrInvalidInput, pam.ErrPolicy, pam.ErrIO, pam.ErrInternal},
			"the operation failed, nothing is half-done",
		},
		{2, []pam.Kind{pam.ErrUsage}, "the command line is wrong, or a question had nobody to answer it"},
		{3, []pam.Kind{pam.ErrNotFound, pam.ErrAmbiguous}, "not found, or ambiguous"},
		{4, []pam.Kind{pam.ErrLocked, pam.ErrDenied}, "the vault: locked, wrong master password, not allowed"},
		{
			5,
			[]pam.Kind{pam.ErrUnreachable, pam.ErrAuthFailed, pam.ErrUntrusted},
			"a target is unreachable or refused us; nothing changed",
		},
		{
			6,
			[]pam.Kind{pam.ErrPartial, pam.ErrUnknownOutcome},
			"partial or in doubt: the authority has, or may have, the new password and the job is not finished",
		},
		{
			7,
			[]pam.Kind{pam.ErrConflict, pam.ErrDrift},
			"conflict: another job holds the account, drift, or a newer vault exists",
		},
		{130, []pam.Kind{pam.ErrInterrupted}, "interrupted, nothing changed"},
	}
}

func exitCodesView() output.View {
	t := output.Table{Header: []string{"Code", "Kind", "Meaning"}, Prose: []string{"Kind", "Meaning"}}
	for _, c := range ExitCodes() {
		t.Rows = append(t.Rows, []string{strconv.Itoa(c.Code), joined(c.Kinds), c.Meaning})
	}
	return output.View{Tables: []output.Table{t}, Document: map[string]any{"exit_codes": ExitCodes()}}
}
