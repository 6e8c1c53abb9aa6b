package powershell_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

func TestNothingRan(t *testing.T) {
	t.Parallel()
	broken := func(sent bool) error {
		return fmt.Errorf("update: %w", &remote.Error{Kind: pam.ErrIO, Op: "send input", Err: errors.New("reset"), Sent: sent})
	}
	fatal := func(stage string) error {
		return pam.Errorf(pam.ErrInternal, "%w", &powershell.FatalError{Class: powershell.ClassInternal, Stage: stage})
	}
	for _, row := range []struct {
		name string
		err  error
		want bool
	}{
		{"a session that broke before the input was sent", broken(false), true},
		{"a session that broke afterwards", broken(true), false},
		{"a script that refused in its preflight", fatal("preflight"), true},
		{"a script that failed at work", fatal("run"), false},
		{"a request that could not be encoded", pam.Errorf(pam.ErrInvalidInput, "a control character"), true},
		{"an answer that ended early", pam.Errorf(pam.ErrIO, "no end marker"), false},
		{"anything else", errors.New("?"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if got := powershell.NothingRan(row.err); got != row.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestSubjectAccount(t *testing.T) {
	t.Parallel()
	const sid = "S-1-5-21-1-1105"
	domain := pam.Identity{Alias: sid, SID: sid, Name: `CORP\svc_app`}
	local := pam.Identity{Alias: "guid/" + sid, SID: sid, Name: `SRV1\svc_app`}
	for _, row := range []struct {
		name, login string
		id          pam.Identity
		want        powershell.Account
	}{
		{"a domain account is asked for by SID and both of its names", `corp.example.com\svc_app`, domain, powershell.Account{
			SIDs: []string{sid}, Sam: "svc_app", LogonUser: "svc_app", LogonDomain: "CORP", TaskUser: `CORP\svc_app`,
			Names: []string{`CORP\svc_app`, `corp.example.com\svc_app`, "svc_app@corp.example.com"},
		}},
		{"a principal name that agrees with the account's gives all spellings", "svc_app@corp.example.com", domain, powershell.Account{
			SIDs: []string{sid}, Sam: "svc_app", LogonUser: "svc_app", LogonDomain: "CORP", TaskUser: `CORP\svc_app`,
			Names: []string{`CORP\svc_app`, "svc_app@corp.example.com", `corp.example.com\svc_app`},
		}},
		{"a principal name that differs from the account's is no account name", "app@corp.example.com", domain, powershell.Account{
			SIDs: []string{sid}, Sam: "svc_app", LogonUser: "svc_app", LogonDomain: "CORP", TaskUser: `CORP\svc_app`,
			Names: []string{`CORP\svc_app`, "app@corp.example.com"},
		}},
		{"a local account has no name that a domain's could share", "svc_app", local, powershell.Account{
			SIDs: []string{sid}, Sam: "svc_app", LogonUser: "svc_app", LogonDomain: "SRV1", TaskUser: `SRV1\svc_app`,
			Names: []string{`SRV1\svc_app`},
		}},
		{"spellings that differ in case are one", `corp\SVC_App`, domain, powershell.Account{
			SIDs: []string{sid}, Sam: "svc_app", LogonUser: "svc_app", LogonDomain: "CORP", TaskUser: `CORP\svc_app`,
			Names: []string{`CORP\svc_app`},
		}},
		{"a name never resolved is taken as typed", `CORP\svc$app`, pam.Identity{}, powershell.Account{
			SIDs: []string{}, Sam: "svc$app", LogonUser: "svc$app", LogonDomain: "CORP", TaskUser: `CORP\svc$app`,
			Names: []string{`CORP\svc$app`},
		}},
		{"a bare name never resolved is the machine's own", "o'brien svc", pam.Identity{}, powershell.Account{
			SIDs: []string{}, Sam: "o'brien svc", LogonUser: "o'brien svc", LogonDomain: ".", Names: []string{"o'brien svc"},
		}},
		{"a bare name of a known domain account is not the machine's own", "svc_app", pam.Identity{Alias: sid, SID: sid}, powershell.Account{
			SIDs: []string{sid}, Sam: "svc_app", LogonUser: "svc_app", Names: []string{"svc_app"},
		}},
		{"a dot is the machine, which the task scheduler does not accept", `.\svc_app`, pam.Identity{}, powershell.Account{
			SIDs: []string{}, Sam: "svc_app", LogonUser: "svc_app", LogonDomain: ".", Names: []string{`.\svc_app`},
		}},
		{"a principal name logs on without a domain", "svc@corp.example.com", pam.Identity{}, powershell.Account{
			SIDs: []string{}, Sam: "svc", LogonUser: "svc@corp.example.com", Names: []string{"svc@corp.example.com"},
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(row.want, powershell.SubjectAccount(row.login, row.id)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
