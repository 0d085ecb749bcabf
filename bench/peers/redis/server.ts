import type { Durability, Missing } from '../../lib/contender.js'
import { findProgram, programOutput } from '../lib/programs.js'
import { ServerProcess } from '../lib/server_process.js'

const program = 'redis-server'
const missing: Missing = { reason: `${program} is not installed`, install: `apt-get install ${program}` }

export async function missingRedis(): Promise<Missing | undefined> {
  return (await findProgram(program)) === undefined ? missing : undefined
}

export async function redisVersion(): Promise<Readonly<Record<string, string>>> {
  const text = await programOutput(program, ['--version'])
  return { [program]: /v=(\S+)/.exec(text)?.[1] ?? text }
}

/** Starts a server with an append-only file, which it syncs every second or before it replies. */
export function startRedis(dataRoot: string, durability: Durability): Promise<ServerProcess> {
  return ServerProcess.start({
    name: program,
    dataRoot,
    command: ({ folder, port }) => ({ program, args: serverArguments(folder, port, durability) }),
  })
}

function serverArguments(folder: string, port: number, durability: Durability): readonly string[] {
  return [
    ...['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', ''],
    ...['--appendonly', 'yes', '--appendfsync', durability === 'fsync' ? 'always' : 'everysec'],
    ...['--auto-aof-rewrite-percentage', '0'],
  ]
}
