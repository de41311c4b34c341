package certs

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func FuzzNewer(f *testing.F) {
	i := newIssuer(time.Hour)
	dir := f.TempDir()
	s := must(i.place(dir).read())
	f.Add(i.list())
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, der []byte) {
		file, err := s.newer(der)
		if err != nil || file == nil {
			return
		}
		lists, err := parseLists(file)
		if err != nil || len(lists) != 1 || signed(lists[0], s.issuers) != nil {
			t.Errorf("%q was taken: %v", der, err)
		}
	})
}

// A list as long as the CA gives is taken, and read again: else one that grew too long
// would end all revocation.
func TestLongList(t *testing.T) {
	i := newIssuer(time.Hour)
	k := must(Open(i.place(t.TempDir()), hclog.NewNullLogger()))
	r := must(NewRenewer(k, i.dial, hclog.NewNullLogger()))
	base := new(big.Int).Lsh(big.NewInt(1), 127)
	for n := range int64(100_000) {
		i.revoked = append(i.revoked, x509.RevocationListEntry{SerialNumber: new(big.Int).Add(base, big.NewInt(n)), RevocationTime: time.Now(), ReasonCode: 1})
	}
	i.number++
	if err := r.contact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !k.reload() || len(k.now.Load().revoked) != len(i.revoked) {
		t.Errorf("of %d revoked certificates %d are known", len(i.revoked), len(k.now.Load().revoked))
	}
}
