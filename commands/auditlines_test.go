package commands

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"keyturn/vault"
)

// Whatever is in an entry, it stays one event on one line, and no value ends
// before its time.
func FuzzAuditLines(f *testing.F) {
	for _, s := range []string{"plain", `a"b]c\d`, "x|y=z", "two\nlines", "\u2028", "CORP\\svc ${x}", ""} {
		f.Add(s, s)
	}
	syslog := regexp.MustCompile(`^<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z \S+ keyturn - \S+ \[keyturn@32473( [a-z]+="([^"\\\]]|\\["\\\]])*"){5}\]$`)
	cef := regexp.MustCompile(`^CEF:0\|Keyturn\|keyturn\|([^|\\]|\\[|\\])*\|([^|\\]|\\[|\\])*\|([^|\\]|\\[|\\])*\|3\|rt=-?\d+ externalId=1 ` +
		`suser=([^=\\]|\\[=\\])* cs1Label=object cs1=([^=\\]|\\[=\\])* msg=([^=\\]|\\[=\\])*$`)
	f.Fuzz(func(t *testing.T, actor, detail string) {
		e := vault.AuditEntry{
			Number: 1, At: time.Unix(1_800_000_000, 123_456_789), Actor: actor, Action: "record." + strings.ReplaceAll(detail, " ", ""), Detail: detail,
		}
		e.Action = e.Action[:min(len(e.Action), 20)]
		if line := auditSyslog(e); !syslog.MatchString(strings.ToValidUTF8(line, "?")) {
			t.Errorf("syslog: %q", line)
		}
		if line := auditCEF(e, detail); !cef.MatchString(strings.ToValidUTF8(line, "?")) {
			t.Errorf("CEF: %q", line)
		}
		if line := auditJSON(e); strings.ContainsAny(line, "\r\n") || !json.Valid([]byte(line)) {
			t.Errorf("JSON: %q", line)
		}
	})
}
