package kdbx

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tobischo/gokeepasslib/v3"
	"pgregory.net/rapid"

	"keyturn/pkg/secret"
)

func word(s string) secret.Value { return secret.Copy([]byte(s)) }

// cheap is a cost for tests.
var cheap = cost{rounds: 10, memory: 64 << 10, passes: 1, lanes: 1}

var open = Key{Password: word("keyturn")}

// A shown entry has its values in the open, for comparing.
type shown struct {
	UUID   [16]byte
	Groups []string
	Fields []string
}

func show(d Database) []shown {
	var all []shown
	for _, e := range d.Entries {
		s := shown{UUID: e.UUID, Groups: append([]string{}, e.Groups...)}
		for _, f := range e.Fields {
			s.Fields = append(s.Fields, fmt.Sprintf("%s %q %t", f.Key, f.Value.Reveal(), f.Protected))
		}
		all = append(all, s)
	}
	return all
}

// What was written is read back, in both versions, with every kind of key. Only
// what XML cannot hold comes back protected.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching(`[A-Za-z<&"' é\\/]{1,8}`)
	rapid.Check(t, func(r *rapid.T) {
		var d Database
		for i := range rapid.IntRange(0, 4).Draw(r, "entries") {
			e := Entry{UUID: [16]byte{1, byte(i)}, Groups: rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B", "a/b", " "}), 0, 3).Draw(r, "groups")}
			for _, key := range rapid.SliceOfNDistinct(name, 0, 4, rapid.ID).Draw(r, "keys") {
				text := rapid.String().Draw(r, "value")
				protected := rapid.Bool().Draw(r, "protected") || !representable(text)
				e.Fields = append(e.Fields, Field{Key: key, Value: word(text), Protected: protected})
			}
			d.Entries = append(d.Entries, e)
		}
		key := Key{Password: word(rapid.StringN(1, 9, -1).Draw(r, "password"))}
		if rapid.Bool().Draw(r, "with a key file") {
			key.KeyFile = word(rapid.StringN(1, 80, -1).Draw(r, "key file"))
		}
		v := rapid.SampledFrom([]Version{Version31, Version4}).Draw(r, "version")
		file, err := write(d, key, v, cheap)
		if err != nil {
			r.Fatal(err)
		}
		got, err := Read(file, key)
		if err != nil {
			r.Fatal(err)
		}
		want := map[string]shown{}
		for _, e := range show(d) {
			want[hex.EncodeToString(e.UUID[:])] = e
		}
		back := map[string]shown{}
		for _, e := range show(got) { // a group's entries stand before its groups
			back[hex.EncodeToString(e.UUID[:])] = e
		}
		if d := cmp.Diff(want, back); d != "" {
			r.Fatal(d)
		}
	})
}

func TestAnotherKeyOpensNothing(t *testing.T) {
	t.Parallel()
	both := Key{Password: word("keyturn"), KeyFile: word("key file")}
	for _, v := range []Version{Version31, Version4} {
		file, err := write(Database{}, both, v, cheap)
		if err != nil {
			t.Fatal(err)
		}
		for what, key := range map[string]Key{
			"the password alone": open, "the key file alone": {KeyFile: both.KeyFile}, "nothing": {},
			"another password": {Password: word("x"), KeyFile: both.KeyFile}, "another key file": {Password: both.Password, KeyFile: word("x")},
			"a key file that is broken": {KeyFile: word("<KeyFile><Meta><Version>9</Version></Meta></KeyFile>")},
		} {
			if _, err := Read(file, key); !errors.Is(err, ErrKey) {
				t.Errorf("%s, version %d: %v", what, v, err)
			}
		}
	}
	if _, err := write(Database{}, Key{}, Version4, cheap); !errors.Is(err, ErrKey) {
		t.Errorf("a file without a key: %v", err)
	}
}

// tlv is one field of a header of KDBX 4.
func tlv(id byte, value []byte) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{id}, uint32(len(value))), value...)
}

// A parameter is one of a key derivation.
type parameter struct {
	name  string
	value []byte
}

func u32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// header4 is a header of KDBX 4 with a key derivation of these parameters.
func header4(parameters ...parameter) []byte {
	dict := []byte{0, 1}
	for _, p := range parameters {
		dict = append(dict, 0x42)
		dict = append(append(dict, u32(uint32(len(p.name)))...), p.name...)
		dict = append(append(dict, u32(uint32(len(p.value)))...), p.value...)
	}
	out := append(bytes.Clone(magic), 0, 0, 4, 0)
	out = append(out, tlv(fieldCipher, gokeepasslib.CipherChaCha20)...)
	out = append(out, tlv(fieldMasterSeed, make([]byte, 32))...)
	out = append(out, tlv(fieldIV, make([]byte, 12))...)
	out = append(out, tlv(fieldKDF, append(dict, 0))...)
	return append(out, tlv(fieldEnd, nil)...)
}

func argon(memory, passes uint64, lanes, version uint32, more ...parameter) []byte {
	return header4(append([]parameter{
		{"$UUID", gokeepasslib.KdfArgon2},
		{"S", make([]byte, 32)},
		{"M", u64(memory)},
		{"I", u64(passes)},
		{"P", u32(lanes)},
		{"V", u32(version)},
	}, more...)...)
}

func aesKDF(rounds uint64, salt int) []byte {
	return header4(parameter{"$UUID", gokeepasslib.KdfAES4}, parameter{"R", u64(rounds)}, parameter{"S", make([]byte, salt)})
}

// header31 is one of KDBX 3.1 that asks for that many rounds.
func header31(rounds uint64) []byte {
	out := append(bytes.Clone(magic), 1, 0, 3, 0)
	for _, f := range []struct {
		id    byte
		value []byte
	}{
		{fieldCipher, gokeepasslib.CipherAES},
		{fieldCompression, u32(1)},
		{fieldMasterSeed, make([]byte, 32)},
		{fieldTransformSeed, make([]byte, 32)},
		{fieldTransformRounds, u64(rounds)},
		{fieldIV, make([]byte, 16)},
		{fieldStreamKey, make([]byte, 32)},
		{fieldStartBytes, make([]byte, 32)},
		{fieldStream, u32(2)},
		{fieldEnd, nil},
	} {
		out = append(binary.LittleEndian.AppendUint16(append(out, f.id), uint16(len(f.value))), f.value...)
	}
	return out
}

// None of these may cost more than reading its header.
func TestAHeaderThatAsksForTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what string
		file []byte
		want string
		cost bool
	}{
		{"four tebibytes of memory", argon(4<<40, 1, 1, argon13), "4194304 MiB of memory", true},
		{"all the memory there can be", argon(1<<64-1, 1, 1, argon13), "of memory", true},
		{"millions of passes", argon(8<<10, 5_000_000, 1, argon13), "5000000 passes", true},
		{"passes whose product overflows", argon(1<<30, 1<<60, 1, argon13), "passes", true},
		{"many passes over much memory", argon(1<<30, 100, 1, argon13), "100 passes over 1024 MiB", true},
		{"four billion threads", argon(1<<20, 1, 1<<32-1, argon13), "threads", true},
		{"13 GiB in all", argon(1<<30, 13, 2, argon13), "13 passes over 1024 MiB", true},
		{"a billion rounds of AES", aesKDF(1e9, 32), "1000000000 rounds", true},
		{"a billion rounds of AES in 3.1", header31(1e9), "1000000000 rounds", true},
		{"no passes", argon(1<<20, 0, 1, argon13), "damaged", false},
		{"no threads", argon(1<<20, 1, 0, argon13), "damaged", false},
		{"less memory than a thread needs", argon(1<<10, 1, 1, argon13), "damaged", false},
		{"an old Argon2", argon(1<<20, 1, 1, 0x10), "version of Argon2", false},
		{"a secret for Argon2", argon(1<<20, 1, 1, argon13, parameter{"K", []byte("x")}), `parameter "K"`, false},
		{"a number of three bytes", argon(1<<20, 1, 1, argon13, parameter{"M", []byte("xyz")}), "damaged", false},
		{"a short seed", aesKDF(1, 16), "damaged", false},
		{"no key derivation", header4(), "key derivation is not known", false},
		{"another one", header4(parameter{"$UUID", make([]byte, 16)}), "key derivation is not known", false},
		{"a dictionary that is cut off", append(append(bytes.Clone(magic), 0, 0, 4, 0), tlv(fieldKDF, []byte{0, 1, 4, 255, 255, 255, 255})...), "cut off", false},
		{"a field of four gibibytes", append(append(bytes.Clone(magic), 0, 0, 4, 0), 2, 255, 255, 255, 255), "cut off", false},
		{"no header", append(bytes.Clone(magic), 0, 0, 4, 0), "cut off", false},
		{"another version", append(bytes.Clone(magic), 0, 0, 5, 0), "version 5.0", false},
		{"a KeePass 1 database", append(bytes.Clone(magicKDB1), make([]byte, 200)...), "KeePass 1", false},
		{"no database", []byte("title,login,password"), "no KeePass database", false},
		{"nothing", nil, "no KeePass database", false},
	} {
		for _, err := range []error{Inspect(c.file), func() error { _, err := Read(c.file, open); return err }()} {
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrCost) != c.cost {
				t.Errorf("%s: got %v, want %s", c.what, err, c.want)
			}
		}
	}
}

// However a file is damaged, it is refused or gives what it held, and nothing
// panics: what stands after the last block is nothing that anybody reads.
func TestADamagedFileIsRefused(t *testing.T) {
	t.Parallel()
	d := Database{Entries: []Entry{{Groups: []string{"G"}, Fields: []Field{{Key: KeyTitle, Value: word("t")}, {Key: KeyPassword, Value: word("p"), Protected: true}}}}}
	for _, v := range []Version{Version31, Version4} {
		file, err := write(d, open, v, cheap)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := Read(file, open)
		if err != nil {
			t.Fatal(err)
		}
		same := func(got Database) bool { return cmp.Equal(show(got), show(whole)) }
		for n := range file {
			if got, err := Read(file[:n], open); err == nil && !same(got) {
				t.Fatalf("version %d cut off at %d: %v", v, n, show(got))
			}
			bad := bytes.Clone(file)
			bad[n] ^= 0x40
			if Inspect(bad) != nil {
				continue
			}
			if h, _, err := readHeader(bad); err == nil && h.kdf.rounds > 1e6 {
				continue // it would only take long
			}
			if got, err := Read(bad, open); err == nil && !same(got) {
				t.Fatalf("version %d with another byte %d: %v", v, n, show(got))
			}
		}
	}
}

func TestUnpackingHasALimit(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	unzip := func(data []byte, limit int64) (int, error) {
		h := header{zipped: true}
		r, err := h.unpack(data, limit)
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(io.Discard, r)
		return int(n), err
	}
	if _, err := unzip(b.Bytes(), 1<<20-1); !errors.Is(err, ErrCost) {
		t.Errorf("got %v", err)
	}
	if n, err := unzip(b.Bytes(), 1<<20); err != nil || n != 1<<20 {
		t.Errorf("got %d bytes, %v", n, err)
	}
	for what, data := range map[string][]byte{"no gzip": []byte("no gzip"), "a checksum that is cut off": b.Bytes()[:b.Len()-4]} {
		if _, err := unzip(data, 1<<20); !errors.Is(err, errDamaged) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// parse reads XML whose protected values are only base64.
func parse(text string) (Database, error) {
	s, err := gokeepasslib.NewStreamManager(gokeepasslib.NoStreamID, nil)
	if err != nil {
		return Database{}, err
	}
	return readXML(bufio.NewReader(strings.NewReader(text)), s, &header{version: Version4})
}

func document(groups string) string {
	return `<?xml version="1.0"?><KeePassFile><Meta><RecycleBinUUID>Ymlu</RecycleBinUUID><RecycleBinEnabled>True</RecycleBinEnabled></Meta>` +
		`<Root><Group><Name>Root</Name>` + groups + `</Group></Root></KeePassFile>`
}

func TestHostileXMLIsRefused(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("<Group><Name>g</Name>", 300) + strings.Repeat("</Group>", 300)
	for _, c := range []struct{ what, text, want string }{
		{"entities that multiply", `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + document("&b;"), "declares a document type"},
		{"a document type within", strings.Replace(document(""), "<Root>", `<!DOCTYPE x><Root>`, 1), "declares a document type"},
		{"an entity that nobody declared", document("<Entry><String><Key>&x;</Key></String></Entry>"), "damaged"},
		{"groups without end", document(deep), "nests deeper"},
		{"unknown elements without end", document(strings.Repeat("<x>", 300) + strings.Repeat("</x>", 300)), "nests deeper"},
		{"elements that do not close", document("<Group>"), "damaged"},
		{"a document that is cut off", document("")[:80], "damaged"},
		{"another document", "<html/>", "not that of a KeePass database"},
		{"two documents", document("") + document(""), "not that of a KeePass database"},
		{"no document", "", "no KeePassFile"},
		{"text that is no UTF-8", document("<Entry><String><Key>\xff</Key></String></Entry>"), "damaged"},
		{"a control character", document("<Entry><String><Key>\x01</Key></String></Entry>"), "damaged"},
		{"an encoding that is not ours", strings.Replace(document(""), `?>`, ` encoding="utf-16"?>`, 1), "damaged"},
		{"a protected value that is none", document(`<Entry><String><Key>k</Key><Value Protected="True">*</Value></String></Entry>`), "not base64"},
		{"an element within a value", document(`<Entry><String><Key>k</Key><Value>a<b/></Value></String></Entry>`), "element within the text of Value"},
		{
			"an entry with two passwords", document(`<Entry/><Entry><String><Key>Password</Key><Value>a</Value></String><String><Key>Password</Key></String></Entry>`),
			`entry 2 of the file has two fields "Password"`,
		},
		{"a group's name after its entries", document(`<Entry></Entry><Name>late</Name>`), "stands after"},
	} {
		d, err := parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(d.Entries) != 0 {
			t.Errorf("%s: got %v, want %s", c.what, err, c.want)
		}
	}
}

// A file whose password is known can still mean harm. Just below each limit it is
// read.
func TestAFileThatHoldsTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	value := func(n int, protected string) string {
		return "<Entry><String><Key>k</Key><Value" + protected + ">" + strings.Repeat("A", n) + "</Value></String></Entry>"
	}
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "<String><Key>%d</Key></String>", i)
		}
		return "<Entry>" + b.String() + "</Entry>"
	}
	for _, c := range []struct {
		what  string
		make  func(n int) string
		least int // that is too much
		want  string
	}{
		{"entries", func(n int) string { return strings.Repeat("<Entry/>", n) }, maxEntries + 1, "more than 200000 entries"},
		{"entries in the recycle bin", func(n int) string { return "<Group><UUID>Ymlu</UUID>" + strings.Repeat("<Entry/>", n) + "</Group>" }, maxEntries + 1, "more than 200000 entries"},
		{"groups", func(n int) string { return strings.Repeat("<Group/>", n) }, maxGroups, "more than 20000 groups"}, // with the root
		{"fields", fields, maxFields + 1, "entry 1 of the file has more than 1000 fields"},
		{"a value", func(n int) string { return value(n, "") }, maxValue + 1, "a text of 4194305 bytes"},
		{"a protected value", func(n int) string { return value(n*4, ` Protected="True"`) }, maxValue/4 + 1, "a text of 4194308 bytes"},
		{"the name of a group", func(n int) string { return "<Group><Name>" + strings.Repeat("g", n) + "</Name></Group>" }, maxValue + 1, "a text of 4194305 bytes"},
		{"attributes", func(n int) string { return "<x" + strings.Repeat(` a=">"`, n) + "/>" }, maxMarkup/6 + 1, "a tag in its XML is larger than 1024 KiB"},
	} {
		d, err := parse(document(c.make(c.least)))
		if !errors.Is(err, ErrCost) || !strings.Contains(err.Error(), c.want) || len(d.Entries) != 0 {
			t.Errorf("%s: got %v, want %s", c.what, err, c.want)
		}
		d, err = parse(document(c.make(c.least - 100)))
		if err != nil {
			t.Errorf("%s, less: %v", c.what, err)
		}
		d.Destroy()
	}
}

func TestXMLHasALimit(t *testing.T) {
	t.Parallel()
	for left, want := range map[int]error{9: ErrCost, 10: nil} {
		_, err := io.ReadAll(&bounded{in: bufio.NewReader(strings.NewReader("0123456789")), left: left})
		if !errors.Is(err, want) {
			t.Errorf("%d bytes may be read: %v", left, err)
		}
	}
}

func TestWhatIsBesideFieldsIsCounted(t *testing.T) {
	t.Parallel()
	d, err := parse(document(`<Entry><UUID>AAAAAAAAAAAAAAAAAAAAAQ==</UUID><Tags>a</Tags><Binary><Key>f</Key><Value Ref="0"/></Binary>
		<Times><Expires>True</Expires></Times><String><Key>Title</Key><Value>t</Value></String>
		<History><Entry><String><Key>Title</Key><Value>old</Value></String></Entry><Entry></Entry></History></Entry>
		<Group><UUID>Ymlu</UUID><Name>Bin</Name><Entry></Entry><Group><Entry></Entry></Group></Group>`))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Entries) != 1 || d.Recycled != 2 {
		t.Fatalf("%d entries, %d recycled", len(d.Entries), d.Recycled)
	}
	e := d.Entries[0]
	if e.Former != 2 || e.Attachments != 1 || !e.Tagged || !e.Expires || len(e.Fields) != 1 || e.UUID != [16]byte{15: 1} {
		t.Errorf("got %+v", e)
	}
}

func TestWhatNoFileCanHoldIsRefused(t *testing.T) {
	t.Parallel()
	for what, e := range map[string]Entry{
		"a group with a control character": {Groups: []string{"a\x01"}},
		"a field with one":                 {Fields: []Field{{Key: "\x00"}}},
		"a field that is there twice":      {Fields: []Field{{Key: "a"}, {Key: "a"}}},
	} {
		if _, err := write(Database{Entries: []Entry{e}}, open, Version4, cheap); err == nil {
			t.Errorf("%s was written", what)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, data := range [][]byte{nil, magic, magicKDB1, header4(), argon(1<<20, 1, 1, argon13), aesKDF(1, 32), header31(1)} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, rest, err := readHeader(data)
		if err == nil && len(h.raw)+len(rest) != len(data) {
			t.Errorf("%d bytes are %d and %d", len(data), len(h.raw), len(rest))
		}
	})
}

func FuzzReadXML(f *testing.F) {
	for _, text := range []string{
		"", document(""), document("<Entry></Entry>"), document("<Group><Name>g</Name><Entry><UUID>AA==</UUID></Entry></Group>"),
		document(`<Entry><String><Key>k</Key><Value Protected="True">YQ==</Value></String><History><Entry/></History></Entry>`),
		"<!DOCTYPE a>", "<KeePassFile><Meta>", document("<![CDATA[x]]><!-- c --><?p i?>"),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parse(text); err != nil && len(d.Entries) != 0 {
			t.Error("a bad document left entries")
		}
	})
}

// FuzzRead looks at what lies behind the header, whose cost is bounded here.
func FuzzRead(f *testing.F) {
	for _, v := range []Version{Version31, Version4} {
		file, err := write(Database{Entries: []Entry{{Fields: []Field{{Key: KeyTitle, Value: word("t")}}}}}, open, v, cheap)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, _, err := readHeader(data); err != nil || h.kdf.rounds > 1000 || h.kdf.memory*h.kdf.passes > 1<<20 {
			return
		}
		if d, err := Read(data, open); err != nil && len(d.Entries) != 0 {
			t.Error("a bad file left entries")
		}
	})
}
