package password_test

import (
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/secret"
)

func TestAMasterPasswordIsNotSoonGuessed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a":               "it has 1 characters",
		"árvízt":          "it has 6 characters",
		"abcdefg":         "too short",
		"aaaaaaaaaaaa":    "made of 1 different",
		"abababababcc":    "made of 3 different",
		"abcdefgh":        "the first that anybody tries",
		"87654321":        "the first that anybody tries",
		"Qwertzui":        "the first that anybody tries",
		"Password1!":      "the first that anybody tries",
		"p4ssw0rd12":      "the first that anybody tries",
		"@dministrator":   "the first that anybody tries",
		"abcdefgx":        "",
		"passwordless":    "",
		"árvíztűr":        "",
		"correct horse":   "",
		"\xff\xfe binary": "",
	} {
		err := password.CheckMaster(secret.New([]byte(text)))
		if want == "" && err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if want != "" && (pam.KindOf(err) != pam.ErrPolicy || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), text) && len(text) > 1 {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}
