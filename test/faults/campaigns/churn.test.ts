import { testShortCampaign } from '../short_campaign.js'
import { churn } from './churn.js'

testShortCampaign(churn)
