package vault

import (
	"encoding/json"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A shelf is read as the JSON library reads it, whatever its texts are.
func TestAShelfIsReadAsJSON(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a"\\\[\],<&/\x{2028}\t{}:é]{0,8}`))
	record := rapid.Custom(func(t *rapid.T) shelved {
		return shelved{text.Draw(t, "uid"), text.Draw(t, "type"), text.Draw(t, "title"), text.Draw(t, "summary")}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(record, 0, 6).Draw(t, "records")
		b, err := json.Marshal(shelf{Records: want})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			return // "null" is the library's to read
		}
		got, ok := readShelf(string(b))
		if !ok || !slices.Equal(got, want) {
			t.Errorf("%s is %q, %t", b, got, ok)
		}
	})
}

// What is laid out in another way is the library's to read, or to refuse.
func TestAShelfOfAnotherLayoutIsReadToo(t *testing.T) {
	t.Parallel()
	one := []shelved{{"u", "t", "T", "s"}}
	for text, want := range map[string][]shelved{
		`{"records":[["u","t","T","s"]]}`:                     one,
		`{"records": [ ["u", "t", "T", "s"] ]}`:               one,
		`{"records":[["u","t","T","s"] ]}`:                    one,
		`{"records":[["u","t","T","s","more"]]}`:              one,
		`{"records":[["u","t","T"]]}`:                         {{"u", "t", "T", ""}},
		`{"records":[["u","t","T","s"]],"later":[]}`:          one,
		`{"records":[["\u0075","t","T","s"]]}`:                one,
		`{"records":[[null,"t","T","s"]]}`:                    {{"", "t", "T", "s"}},
		"{\"records\":[[\"\xff\",\"t\",\"T\",\"s\"]]}":        {{"\ufffd", "t", "T", "s"}},
		`{"records":[]}`:                                      nil,
		`{"records":null}`:                                    nil,
		`{}`:                                                  nil,
		`{"later":["["],"records":[["u","t","T","s"]],"x":1}`: one,
	} {
		var s shelf
		if _, err := decodeFrame(layFrame([]byte(text), nil), &s); err != nil || !slices.Equal(s.Records, want) {
			t.Errorf("%s is %q, %v", text, s.Records, err)
		}
	}
	for _, text := range []string{
		``, `{"records":[["u","t","T","s"]`, `{"records":[["u","t","T","s"],]}`, `{"records":[["u","t","T",1]]}`, `{"records":["u"]}`,
		`{"records":[["u","t","T","s\"]]}`,
	} {
		var s shelf
		if _, err := decodeFrame(layFrame([]byte(text), nil), &s); err == nil {
			t.Errorf("%s is %q", text, s.Records)
		}
	}
}
