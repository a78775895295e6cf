package main

import (
	"encoding/json"
	"fmt"

	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// head is what a checkpoint says.
type head struct {
	Origin  string `json:"origin"`
	Size    int64  `json:"size"`
	Signers int    `json:"signers"`
}

// open verifies a checkpoint with the key of its log, and demands every cosigner that is named.
func open(checkpoint []byte, vkey string, cosigners []string) (*flog.Checkpoint, *note.Note, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, nil, err
	}
	others := make([]note.Verifier, 0, len(cosigners))
	for _, one := range cosigners {
		other, err := fnote.NewVerifierForCosignatureV1(one)
		if err != nil {
			return nil, nil, err
		}
		others = append(others, other)
	}
	found, _, signed, err := flog.ParseCheckpoint(checkpoint, verifier.Name(), verifier, others...)
	return found, signed, err
}

func sumdbHash(raw []byte) (hash tlog.Hash, err error) {
	if len(raw) != len(hash) {
		return hash, fmt.Errorf("a hash of %d bytes", len(raw))
	}
	copy(hash[:], raw)
	return hash, nil
}

// proofFile verifies a .tlog-proof: the note by sumdb/note, the inclusion by sumdb/tlog.
func proofFile(in *json.Decoder) (any, error) {
	var question struct {
		Vkey        string
		Proof, Leaf []byte
	}
	if err := in.Decode(&question); err != nil {
		return nil, err
	}
	var read proof.TLogProof
	if err := read.Unmarshal(question.Proof); err != nil {
		return nil, err
	}
	checkpoint, signed, err := open(read.Checkpoint, question.Vkey, nil)
	if err != nil {
		return nil, err
	}
	root, err := sumdbHash(checkpoint.Hash)
	if err != nil {
		return nil, err
	}
	path := make(tlog.RecordProof, 0, len(read.Hashes))
	for _, hash := range read.Hashes {
		path = append(path, tlog.Hash(hash))
	}
	leaf := tlog.RecordHash(question.Leaf)
	if err := tlog.CheckRecord(path, int64(checkpoint.Size), root, int64(read.Index), leaf); err != nil {
		return nil, err
	}
	return head{checkpoint.Origin, int64(checkpoint.Size), len(signed.Sigs)}, nil
}

// consistency verifies that the log of one checkpoint begins with that of another.
func consistency(in *json.Decoder) (any, error) {
	var question struct {
		Vkey     string
		Old, New []byte
		Path     [][]byte
	}
	if err := in.Decode(&question); err != nil {
		return nil, err
	}
	before, _, err := open(question.Old, question.Vkey, nil)
	if err != nil {
		return nil, err
	}
	after, signed, err := open(question.New, question.Vkey, nil)
	if err != nil {
		return nil, err
	}
	one := vector{Old: int64(before.Size), Size: int64(after.Size), OldRoot: before.Hash, Root: after.Hash, Path: question.Path}
	if err := one.consistencyBySumdb(); err != nil {
		return nil, err
	}
	if err := one.consistencyByMerkle(); err != nil {
		return nil, err
	}
	return head{after.Origin, int64(after.Size), len(signed.Sigs)}, nil
}

// cosigned verifies that every witness that is named signed a checkpoint of the log.
func cosigned(in *json.Decoder) (any, error) {
	var question struct {
		Vkey       string
		Cosigners  []string
		Checkpoint []byte
	}
	if err := in.Decode(&question); err != nil {
		return nil, err
	}
	checkpoint, signed, err := open(question.Checkpoint, question.Vkey, question.Cosigners)
	if err != nil {
		return nil, err
	}
	if len(signed.Sigs) != 1+len(question.Cosigners) {
		return nil, fmt.Errorf("%d of %d signatures count", len(signed.Sigs), 1+len(question.Cosigners))
	}
	return head{checkpoint.Origin, int64(checkpoint.Size), len(signed.Sigs)}, nil
}
