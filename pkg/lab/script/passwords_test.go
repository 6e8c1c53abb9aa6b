package script_test

import (
	"errors"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
)

// Passwords go through every kind of item, and are stored as they are.
func TestPasswords(t *testing.T) {
	t.Parallel()
	for _, r := range []struct{ name, password string }{
		{"P01 quotes of every sort", "a\"b'c\u2018\u2019\u201a\u201b\u201c;Stop-Computer;#canary"},
		{"P02 what shells make something of", "`$x $(y) %PATH% ^& | < > ! canary"},
		{"P03 127 characters", strings.Repeat("aB3-canary;", 11) + "123456"},
		{"P04 256 characters", strings.Repeat("aB3-canary;'\"é", 18) + "1234"},
		{"P05 beyond the basic plane, and combining", "\U0001F511e\u0301\U00010348-canary"},
		{"P06 space around", "  canary  "},
		{"P08 what looks like the frame", `{"a":1}.,#WSX canary==.,e30=`},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			row{"", nil, func(w *world) {
				w.next = r.password
				w.svc("A", model.Running, nil)
				w.task(`\T`, nil)
				w.pool("P", nil)
			}, map[string]string{"A": restarted, `\T`: written, "P": "update=ok restart=noop/already_recycled Started recycles=1 new"}}.everywhere(t)
		})
	}
}

func TestP07WhatNoTargetTakesIsRefusedBeforeAnyIsAsked(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]string{
		"nothing": "", "a line feed": "a\nb", "a NUL": "a\x00b", "an escape": "a\x1bb", "a C1 control": "a\u0085b",
		"half a surrogate pair": "a\xed\xa0\xbdb", "no UTF-8": "a\xffb",
	} {
		if err := password.Valid(pw(bad)); !errors.Is(err, pam.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
