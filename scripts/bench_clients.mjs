// Compiles the clients of the bench's peers, and links their dependencies beside them, if they are installed
// (npm run bench:clients). Without them the bench runs too: it skips the peers.
import { execFileSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, symlinkSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const source = `${root}bench/peers/clients`
const target = `${root}dist/bench/peers/clients`

if (existsSync(`${source}/node_modules`)) {
  execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '-p', source], {
    stdio: 'inherit',
  })
  mkdirSync(target, { recursive: true })
  const link = `${target}/node_modules`
  if (lstatSync(link, { throwIfNoEntry: false }) === undefined)
    symlinkSync(`${source}/node_modules`, link, 'junction')
}
