import { testShortCampaign } from '../short_campaign.js'
import { idleConnections } from './idle_connections.js'

testShortCampaign(idleConnections)
