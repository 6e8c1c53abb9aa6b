package commands

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// manyRecords is a file of that many records: machines, users with credentials
// and logins, in folders of a hundred.
func manyRecords(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"records": [`)
	for i := range n {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"title": "Record %d", "folders": [{"folder": "Team %d\\\\Folder %d"}], `, i, i/10000, i/100)
		switch i % 3 {
		case 0:
			fmt.Fprintf(&b, `"$type": "pamMachine", "custom_fields": {"$pamHostname": {"hostName": "h%d.example", "port": "5986"}}}`, i)
		case 1:
			fmt.Fprintf(&b, `"$type": "pamUser", "login": "LAB\\\\u%d", "password": "Passw0rd-%d"}`, i, i)
		default:
			fmt.Fprintf(&b, `"login": "u%d", "password": "Passw0rd-%d", "login_url": "https://%d.example", "custom_fields": {"note": "n"}}`, i, i, i)
		}
	}
	b.WriteString("]}")
	return b.Bytes()
}

// BenchmarkImport100000 imports a file of 100,000 records into a new vault.
func BenchmarkImport100000(b *testing.B) { benchmarkImport(b, 100000) }

// BenchmarkImport1000 is the same with 1,000.
func BenchmarkImport1000(b *testing.B) { benchmarkImport(b, 1000) }

func benchmarkImport(b *testing.B, n int) {
	b.Helper()
	file := filepath.Join(b.TempDir(), "many.json")
	if err := os.WriteFile(file, manyRecords(n), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		d, out, stderr := withVault(b)
		b.StartTimer()
		if err := Execute(b.Context(), d, []string{"import", file}); err != nil {
			b.Fatal(err, stderr.String())
		}
		b.StopTimer()
		if want := fmt.Sprintf("%d record(s) added", n); !bytes.Contains(out.Bytes(), []byte(want)) {
			b.Fatal(out.String())
		}
		d.Lock()
		b.StartTimer()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
