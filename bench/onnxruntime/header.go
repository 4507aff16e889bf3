//go:build header

package main

// The C header of ONNX Runtime comes with this module; its Go code is not used.
import _ "github.com/yalue/onnxruntime_go"
