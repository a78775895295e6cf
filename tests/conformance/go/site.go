package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const width = 256

// site is a log behind HTTPS, and what is known about it from elsewhere.
type site struct {
	URL, Vkey, Roots, ServerName string
}

func (s site) client() (*http.Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(s.Roots)) {
		return nil, fmt.Errorf("no roots")
	}
	settings := &tls.Config{RootCAs: pool, ServerName: s.ServerName, MinVersion: tls.VersionTLS13}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: settings}}, nil
}

// audited is what an audit looked at.
type audited struct {
	Size    int64  `json:"size"`
	Root    string `json:"root"`
	Tiles   int    `json:"tiles"`
	Bundles int    `json:"bundles"`
}

// auditor reads a log as C2SP tlog-tiles describes it. Written against the specification, with the hashes of sumdb/tlog.
type auditor struct {
	site   site
	client *http.Client
	found  audited
}

// audit fetches the checkpoint, every entry bundle and every tile, and computes all of it again from the entries.
func audit(in *json.Decoder) (any, error) {
	var a auditor
	if err := in.Decode(&a.site); err != nil {
		return nil, err
	}
	var err error
	if a.client, err = a.site.client(); err != nil {
		return nil, err
	}
	signed, err := a.get("checkpoint")
	if err != nil {
		return nil, err
	}
	checkpoint, _, err := open(signed, a.site.Vkey, nil)
	if err != nil {
		return nil, err
	}
	a.found.Size = int64(checkpoint.Size)
	hashes, err := a.entries()
	if err != nil {
		return nil, err
	}
	if err := a.root(hashes, checkpoint.Hash); err != nil {
		return nil, err
	}
	return a.found, a.tiles(hashes)
}

// entries returns the leaf hashes of all entries.
func (a *auditor) entries() ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for number := int64(0); number*width < a.found.Size; number++ {
		bundle, err := a.get(path("entries", number, min(width, a.found.Size-number*width)))
		if err != nil {
			return nil, err
		}
		for len(bundle) > 0 {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("bundle %d is cut", number)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			hashes = append(hashes, tlog.RecordHash(bundle[2:end]))
			bundle = bundle[end:]
		}
		a.found.Bundles++
	}
	if int64(len(hashes)) != a.found.Size {
		return nil, fmt.Errorf("%d entries instead of %d", len(hashes), a.found.Size)
	}
	return hashes, nil
}

// root computes the root of the tree and compares it with the signed one.
func (a *auditor) root(hashes []tlog.Hash, signed []byte) error {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, 0, len(indexes))
		for _, index := range indexes {
			found = append(found, stored[index])
		}
		return found, nil
	})
	for index, hash := range hashes {
		more, err := tlog.StoredHashesForRecordHash(int64(index), hash, reader)
		if err != nil {
			return err
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(a.found.Size, reader)
	if err != nil {
		return err
	}
	if !bytes.Equal(root[:], signed) {
		return fmt.Errorf("the entries lead to another root than the signed one")
	}
	a.found.Root = fmt.Sprintf("%x", root[:])
	return nil
}

// tiles compares every tile with what the entries make of it, level by level.
func (a *auditor) tiles(row []tlog.Hash) error {
	for level := 0; len(row) > 0; level++ {
		var above []tlog.Hash
		for start := 0; start < len(row); start += width {
			cut := row[start:min(start+width, len(row))]
			served, err := a.get(path(fmt.Sprint(level), int64(start/width), int64(len(cut))))
			if err != nil {
				return err
			}
			var expected bytes.Buffer
			for _, hash := range cut {
				expected.Write(hash[:])
			}
			if !bytes.Equal(served, expected.Bytes()) {
				return fmt.Errorf("tile %d/%d is not what the entries make of it", level, start/width)
			}
			a.found.Tiles++
			if len(cut) == width {
				above = append(above, perfect(cut))
			}
		}
		row = above
	}
	return nil
}

// perfect is the root over a number of hashes that is a power of two.
func perfect(row []tlog.Hash) tlog.Hash {
	if len(row) == 1 {
		return row[0]
	}
	return tlog.NodeHash(perfect(row[:len(row)/2]), perfect(row[len(row)/2:]))
}

// path writes a number as the specification does: groups of three digits, all but the last with an x before them.
func path(kind string, number, count int64) string {
	name := fmt.Sprintf("%03d", number%1000)
	for number /= 1000; number > 0; number /= 1000 {
		name = fmt.Sprintf("x%03d/%s", number%1000, name)
	}
	if count < width {
		name = fmt.Sprintf("%s.p/%d", name, count)
	}
	return "tile/" + kind + "/" + name
}

func (a *auditor) get(path string) ([]byte, error) {
	answer, err := a.client.Get(strings.TrimSuffix(a.site.URL, "/") + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, 1<<25))
}

// fsckLog runs tessera's own check over the same site: a second auditor, with another client and other hashing code.
func fsckLog(in *json.Decoder) (any, error) {
	var question site
	if err := in.Decode(&question); err != nil {
		return nil, err
	}
	client, err := question.fetcher()
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(question.Vkey)
	if err != nil {
		return nil, err
	}
	check := fsck.New(verifier.Name(), verifier, client, leafHashes, fsck.Opts{N: 4})
	if err := check.Check(context.Background()); err != nil {
		return nil, err
	}
	status := check.Status()
	return map[string]uint64{"resources": status.ResourcesFetched, "errors": status.ErrorsEncountered}, nil
}

func (s site) fetcher() (*client.HTTPFetcher, error) {
	root, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	over, err := s.client()
	if err != nil {
		return nil, err
	}
	return client.NewHTTPFetcher(root, over)
}

func leafHashes(bundle []byte) ([][]byte, error) {
	var hashes [][]byte
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return nil, fmt.Errorf("a bundle is cut")
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(bundle[2:end]))
		bundle = bundle[end:]
	}
	return hashes, nil
}
