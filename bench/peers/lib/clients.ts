import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Missing } from '../../lib/contender.js'

/** The compiled package of the clients, with a link to its installed dependencies. */
const folder = new URL('../clients/', import.meta.url)

/** A compiled script of the package. @param path "redis/publisher.js" */
export function clientScript(path: string): URL {
  return new URL(path, folder)
}

/** The version of an installed dependency of the package. @throws Error if it is not installed */
export async function clientVersion(name: string): Promise<string> {
  const text = await readFile(new URL(`node_modules/${name}/package.json`, folder), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Undefined if this dependency of the package is installed and its scripts are compiled. @param script one of the scripts */
export async function missingClient(name: string, script: string): Promise<Missing | undefined> {
  const install = 'npm run bench:clients'
  try {
    await clientVersion(name)
  } catch {
    return { reason: `${name} is not installed`, install }
  }
  return existsSync(clientScript(script)) ? undefined : { reason: `its client is not compiled`, install }
}
