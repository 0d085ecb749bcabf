// Copies the declarations to dist/commonjs, a folder of CommonJS modules: TypeScript with `module: node16` refuses
// declarations of ES modules in a CommonJS program, although Node.js 20.19 and later load ES modules by `require`.
import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const target = `${dist}commonjs/`
const isFolderOrDeclaration = (path) => !/\.[a-z]+$/.test(path) || path.endsWith('.d.ts')

rmSync(target, { recursive: true, force: true })
for (const folder of ['broker', 'client', 'protocol', 'storage'])
  cpSync(dist + folder, target + folder, { recursive: true, filter: isFolderOrDeclaration })
writeFileSync(`${target}package.json`, `${JSON.stringify({ type: 'commonjs' })}\n`)
