{
  # node-gyp and prebuildify enter here; CMakeLists.txt is the build.
  "targets": [{
    "target_name": "bge_reranker",
    "type": "none",
    "actions": [{
      "action_name": "cmake",
      "inputs": ["CMakeLists.txt"],
      "outputs": ["<(PRODUCT_DIR)/bge_reranker.node"],
      "action": ["node", "scripts/build.mjs", "native", "--out", "<(PRODUCT_DIR)/bge_reranker.node"]
    }]
  }]
}
