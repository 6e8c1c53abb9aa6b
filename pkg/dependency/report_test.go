package dependency_test

import (
	"fmt"
	"strings"
	"testing"

	"keyturn/pkg/dependency"
)

func TestLookKeepsWhatIsOnlyReported(t *testing.T) {
	t.Parallel()
	inv, err := look(t, &canned{lines: talk(t, hello+`
{"t":"item","phase":"look","kind":"process","id":"4711","display":"orders.exe","runAs":"CORP\\svc_app","pid":4711,"status":"skipped","reason":"unmanaged_process"}
{"t":"item","phase":"look","kind":"com_plus","id":"Orders \"2\"","runAs":"CORP\\svc_app","status":"skipped","reason":"com_plus"}
{"t":"item","phase":"look","kind":"dcom","id":"{4}","display":"Bridge","runAs":"CORP\\svc_app","status":"skipped","reason":"dcom"}
{"t":"item","phase":"look","kind":"iis_shared","id":"\\\\filer\\iis","status":"skipped","reason":"shared_config"}
{"t":"item","phase":"look","kind":"elsewhere","id":"Winlogon autologon","runAs":"CORP\\svc_app","status":"skipped","reason":"seen_elsewhere"}
`+bye)})
	if err != nil || len(inv.Items) != 0 || len(inv.Warnings) != 0 {
		t.Fatalf("got %+v, %v", inv, err)
	}
	want := []string{
		`4711|process 4711 (orders.exe) runs as CORP\svc_app, and nothing that is updated here explains it: it keeps the old password (unmanaged_process)`,
		`Orders "2"|the COM+ application "Orders \"2\"" runs as CORP\svc_app: set its password in Component Services (com_plus)`,
		`{4}|the DCOM server "Bridge" ({4}) runs as CORP\svc_app: set its password with dcomcnfg (dcom)`,
		`\\filer\iis|IIS takes its configuration from \\filer\iis, which other machines read too: its passwords are not changed here (shared_config)`,
		`Winlogon autologon|Winlogon autologon stores the password of CORP\svc_app: set it there (seen_elsewhere)`,
	}
	for n, r := range inv.Reports {
		if got := r.Name + "|" + r.Text; n >= len(want) || got != want[n] || !strings.HasSuffix(r.Text, "("+r.Class+")") {
			t.Errorf("report %d: %s", n, got)
		}
	}
	if len(inv.Reports) != len(want) {
		t.Errorf("%d reports", len(inv.Reports))
	}
}

func TestLookBoundsWhatIsOnlyReported(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	lines.WriteString(hello)
	for n := range 200 {
		fmt.Fprintf(&lines, `{"t":"item","phase":"look","kind":"process","id":"%d","pid":%d}`+"\n", n, n)
	}
	inv, err := look(t, &canned{lines: talk(t, lines.String()+bye)})
	if err != nil || len(inv.Reports) != 51 || !strings.Contains(inv.Reports[50].Text, "more") {
		t.Errorf("%d reports, %v", len(inv.Reports), err)
	}
}

func TestAnotherMachinesAccountHasNoReports(t *testing.T) {
	t.Parallel()
	s := subject
	s.Local, s.Identity.Alias = true, "ff-00/S-1-5-21-9-1001"
	lines := talk(t, hello+`{"t":"item","phase":"look","kind":"process","id":"7","pid":7}`+"\n"+bye)
	inv, err := (&canned{lines: lines}).open(t).Look(t.Context(), dependency.LookRequest{Subject: s, Kinds: allKinds})
	if err != nil || len(inv.Reports) != 0 {
		t.Errorf("got %+v, %v", inv.Reports, err)
	}
}
