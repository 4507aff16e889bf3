module github.com/stoaproject/stoa/bench/onnxruntime

go 1.26.8

require (
	github.com/stoaproject/stoa v0.0.0
	github.com/yalue/onnxruntime_go v1.27.0
)

require google.golang.org/protobuf v1.36.12 // indirect

replace github.com/stoaproject/stoa => ../..
