import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { MillraceError } from '../client/index.js'
import { suggestion } from '../protocol/index.js'
import { writeError } from './errors.js'

/** Named servers, and the current one. */
export interface Contexts {
  readonly current: string | undefined
  /** Addresses by name. */
  readonly servers: Readonly<Record<string, string>>
}

const nameForm = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** `$XDG_CONFIG_HOME/millrace/contexts.json`; without the variable, the file is in `~/.config`. */
export function contextsFile(env: NodeJS.ProcessEnv = process.env): string {
  const { XDG_CONFIG_HOME: home = '' } = env
  return join(home === '' ? join(homedir(), '.config') : home, 'millrace', 'contexts.json')
}

/** @throws MillraceError BAD_CONFIG that names the file if it is damaged */
export async function readContexts(): Promise<Contexts> {
  const file = contextsFile()
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { current: undefined, servers: {} }
    throw error
  }
  const damaged = (cause?: unknown): MillraceError =>
    new MillraceError('BAD_CONFIG', `"${file}" is not a valid contexts file; fix or remove it`, { cause })
  let stored: unknown
  try {
    stored = JSON.parse(text)
  } catch (error) {
    throw damaged(error)
  }
  if (typeof stored !== 'object' || stored === null) throw damaged()
  const { current, servers } = stored as { readonly current?: unknown; readonly servers?: unknown }
  if (current !== undefined && typeof current !== 'string') throw damaged()
  if (typeof servers !== 'object' || servers === null) throw damaged()
  if (!Object.values(servers).every((server) => typeof server === 'string')) throw damaged()
  return { current, servers: servers as Record<string, string> }
}

/** Replaces the file atomically. */
export async function writeContexts(contexts: Contexts): Promise<void> {
  const file = contextsFile()
  const part = `${file}.${process.pid}.part`
  try {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(part, `${JSON.stringify(contexts, undefined, 2)}\n`, { mode: 0o600 })
    await rename(part, file)
  } catch (error) {
    throw writeError(error, file)
  }
}

/** @throws MillraceError BAD_OPTION */
export function checkContextName(name: string): void {
  if (!nameForm.test(name))
    throw new MillraceError(
      'BAD_OPTION',
      `${JSON.stringify(name)} is not a valid context name: expected up to 64 letters, digits, ".", "_" and "-"`,
    )
}

/** The address of a context. @throws MillraceError BAD_OPTION with the most similar name */
export function serverOfContext({ servers }: Contexts, name: string): string {
  const server = Object.hasOwn(servers, name) ? servers[name] : undefined
  if (server !== undefined) return server
  const known = Object.keys(servers)
  const hint = known.length === 0 ? '; add one with "millrace context add"' : suggestion(name, known)
  throw new MillraceError('BAD_OPTION', `there is no context "${name}"${hint}`)
}

/**
 * Chooses the server of a command: `--server`, else `--context`, else MILLRACE_SERVER, else MILLRACE_CONTEXT, else the
 * current context, else the default.
 * @throws MillraceError BAD_OPTION, BAD_CONFIG
 */
export async function chooseServer(command: Command): Promise<void> {
  const options: { readonly server?: string; readonly context?: string } = command.opts()
  if (options.server === undefined) return
  const source = command.getOptionValueSource('server')
  if (source === 'cli') {
    if (options.context === undefined) return
    throw new MillraceError('BAD_OPTION', 'give --server or --context, not both')
  }
  if (source === 'env' && options.context === undefined) return
  const { MILLRACE_CONTEXT: fromEnv = '' } = process.env
  const wanted = options.context ?? (fromEnv === '' ? undefined : fromEnv)
  const contexts = await readContexts()
  const name = wanted ?? contexts.current
  if (name !== undefined)
    command.setOptionValueWithSource('server', serverOfContext(contexts, name), 'config')
}
