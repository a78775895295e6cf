package main

import (
	"encoding/json"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// vector is one proof, true or false: of inclusion where there is a leaf, else of consistency.
type vector struct {
	Index, Size, Old    int64
	Leaf, Root, OldRoot []byte
	Path                [][]byte
}

// verdict says which of two independent libraries accept a proof.
type verdict struct {
	Sumdb  bool `json:"sumdb"`
	Merkle bool `json:"merkle"`
}

// vectors judges many proofs at once.
func vectors(in *json.Decoder) (any, error) {
	var all []vector
	if err := in.Decode(&all); err != nil {
		return nil, err
	}
	found := make([]verdict, 0, len(all))
	for _, one := range all {
		found = append(found, one.judge())
	}
	return found, nil
}

func (v vector) judge() verdict {
	if v.Leaf != nil {
		return verdict{v.inclusionBySumdb() == nil, v.inclusionByMerkle() == nil}
	}
	return verdict{v.consistencyBySumdb() == nil, v.consistencyByMerkle() == nil}
}

func (v vector) sumdbPath() ([]tlog.Hash, error) {
	path := make([]tlog.Hash, 0, len(v.Path))
	for _, raw := range v.Path {
		hash, err := sumdbHash(raw)
		if err != nil {
			return nil, err
		}
		path = append(path, hash)
	}
	return path, nil
}

func (v vector) inclusionBySumdb() error {
	root, err := sumdbHash(v.Root)
	if err != nil {
		return err
	}
	leaf, err := sumdbHash(v.Leaf)
	if err != nil {
		return err
	}
	path, err := v.sumdbPath()
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, v.Size, root, v.Index, leaf)
}

func (v vector) consistencyBySumdb() error {
	root, err := sumdbHash(v.Root)
	if err != nil {
		return err
	}
	oldRoot, err := sumdbHash(v.OldRoot)
	if err != nil {
		return err
	}
	path, err := v.sumdbPath()
	if err != nil {
		return err
	}
	return tlog.CheckTree(path, v.Size, root, v.Old, oldRoot)
}

func (v vector) inclusionByMerkle() error {
	return proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(v.Index), uint64(v.Size), v.Leaf, v.Path, v.Root)
}

func (v vector) consistencyByMerkle() error {
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(v.Old), uint64(v.Size), v.Path, v.OldRoot, v.Root)
}
