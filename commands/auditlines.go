package commands

import (
	"fmt"
	"strconv"
	"strings"

	"keyturn/vault"
)

const (
	// auditPriority is facility 13 (log audit), severity 5 (notice): RFC 5424 §6.2.1.
	auditPriority = 13*8 + 5
	// auditID names the structured data; 32473 is the enterprise number that
	// RFC 5612 keeps for documentation: Keyturn has none of its own.
	auditID = "keyturn@32473"
	// auditTime has at most six digits of a second (§6.2.3.1).
	auditTime = "2006-01-02T15:04:05.999999Z07:00"
)

// auditSyslog is an entry as RFC 5424: header, structured data, message. Within
// a parameter value ", \ and ] are escaped (§6.3.3).
func auditSyslog(e vault.AuditEntry) string {
	value := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)
	param := func(name, v string) string { return " " + name + `="` + value.Replace(oneLine(v)) + `"` }
	host := "-"
	if _, h, ok := strings.Cut(e.Actor, "@"); ok && h != "" {
		host = token(h)
	}
	return fmt.Sprintf("<%d>1 %s %s keyturn - %s [%s%s%s%s%s%s]", auditPriority, e.At.UTC().Format(auditTime), host, token(e.Action),
		auditID, param("number", strconv.FormatInt(e.Number, 10)), param("actor", e.Actor), param("action", e.Action),
		param("object", string(e.Object)), param("detail", e.Detail))
}

// auditCEF is an entry in the Common Event Format, version 0: | and \ are escaped
// in the header, = and \ in the extension, and no value breaks the line.
func auditCEF(e vault.AuditEntry, version string) string {
	head := strings.NewReplacer(`\`, `\\`, `|`, `\|`)
	field := strings.NewReplacer(`\`, `\\`, `=`, `\=`)
	return fmt.Sprintf("CEF:0|Keyturn|keyturn|%s|%s|%s|3|rt=%d externalId=%d suser=%s cs1Label=object cs1=%s msg=%s",
		head.Replace(oneLine(version)), head.Replace(oneLine(e.Action)), head.Replace(oneLine(e.Action)), e.At.UnixMilli(), e.Number,
		field.Replace(oneLine(e.Actor)), field.Replace(oneLine(string(e.Object))), field.Replace(oneLine(e.Detail)))
}

// oneLine puts a space in the place of what would end a line or is no text.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0x2028 || r == 0x2029 || r == 0x85 {
			return ' '
		}
		return r
	}, s)
}

// token is a header field of RFC 5424: printable ASCII without spaces, at most
// 32 characters here.
func token(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), 32)]
}
