import { writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Durability } from '../../lib/contender.js'
import { findPrograms, programOutput } from '../lib/programs.js'
import { ServerProcess } from '../lib/server_process.js'

const program = 'nats-server'

export interface NatsProgram {
  readonly path: string
  readonly version: string
}

/** Names a program to be used instead of the newest that is found. */
export const programVariable = 'MILLRACE_BENCH_NATS_SERVER'

/** The newest nats-server in PATH and where `go install` puts programs, or the one that the environment names. */
export async function findNats(): Promise<NatsProgram | undefined> {
  const chosen = process.env[programVariable]
  const paths = chosen === undefined ? await findPrograms(program, goFolders()) : [chosen]
  const found = await Promise.all(paths.map(async (path) => ({ path, version: await versionOf(path) })))
  return found.sort((a, b) => compareVersions(b.version, a.version))[0]
}

/** Negative when `a` is older than `b`: "2.9.10" is older than "2.10". */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number.parseFloat), b.split('.').map(Number.parseFloat)]
  for (const [i, part] of left.entries()) if (part !== (right[i] ?? 0)) return part - (right[i] ?? 0)
  return left.length - right.length
}

/** @throws Error when no nats-server is found or it doesn't start */
export function startNats(dataRoot: string, durability: Durability): Promise<ServerProcess> {
  return ServerProcess.start({
    name: program,
    dataRoot,
    command: async ({ folder, port }) => {
      const nats = await findNats()
      if (nats === undefined) throw new Error(`${program} is no longer installed`)
      const config = join(folder, 'nats.conf')
      const sync = durability === 'fsync' ? '\n sync_interval: always' : ''
      const jetstream = `jetstream { store_dir: ${JSON.stringify(join(folder, 'store'))} ${sync}\n}`
      await writeFile(config, `host: 127.0.0.1\nport: ${port}\n${jetstream}\n`)
      return { program: nats.path, args: ['-c', config] }
    },
  })
}

function goFolders(): readonly string[] {
  const { GOBIN, GOPATH } = process.env
  const path = join(GOPATH ?? join(homedir(), 'go'), 'bin')
  return GOBIN === undefined ? [path] : [GOBIN, path]
}

/** "nats-server: v2.12.2" */
async function versionOf(path: string): Promise<string> {
  const text = await programOutput(path, ['--version'])
  return /v(\d+\.\d+\.\d+\S*)/.exec(text)?.[1] ?? '0'
}
